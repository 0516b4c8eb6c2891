package hdfs_test

import (
	"crypto/rand"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/hdfs"
	"github.com/trainfs/trainfs/backend/storetest"
	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

func open(t *testing.T, url string) *hdfs.Store {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := hdfs.Open(t.Context(), loc, hdfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	cluster := minihdfs.Start(t)
	storetest.Run(t, func(t *testing.T) backend.Store {
		return open(t, cluster.URL("runs/"+rand.Text()))
	})
}
