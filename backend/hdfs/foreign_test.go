package hdfs_test

import (
	"testing"

	client "github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

// appendTo is another program.
func appendTo(t *testing.T, cluster *minihdfs.Cluster, path, text string) {
	t.Helper()
	c, err := client.New(cluster.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.Append(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
