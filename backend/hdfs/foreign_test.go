package hdfs_test

import (
	"errors"
	"testing"

	client "github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

// connect gives another program's client.
func connect(t *testing.T, cluster *minihdfs.Cluster) *client.Client {
	t.Helper()
	c, err := client.New(cluster.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func appendTo(t *testing.T, cluster *minihdfs.Cluster, path, text string) {
	t.Helper()
	f, err := connect(t, cluster).Append(path)
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

// leaveBehind leaves a file that is being written, one that is whole, and a directory.
func leaveBehind(t *testing.T, cluster *minihdfs.Cluster, in, written, whole, dir string) {
	t.Helper()
	c := connect(t, cluster)
	_, err := c.Create(in + written)
	if err = errors.Join(err, c.CreateEmptyFile(in+whole), c.Mkdir(in+dir, 0o755)); err != nil {
		t.Fatal(err)
	}
}

func namesIn(t *testing.T, cluster *minihdfs.Cluster, dir string) (names []string) {
	t.Helper()
	infos, err := connect(t, cluster).ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		names = append(names, info.Name())
	}
	return names
}
