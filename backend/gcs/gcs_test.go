package gcs_test

import (
	"crypto/rand"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/gcs"
	"github.com/trainfs/trainfs/backend/storetest"
	"github.com/trainfs/trainfs/backend/storetest/fakegcs"
)

// open opens a store at an URL.
func open(t *testing.T, url string) *gcs.Store {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gcs.Open(t.Context(), loc, gcs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := fakegcs.Start(t)
	storetest.Run(t, func(t *testing.T) backend.Store {
		return open(t, server.URL("runs/"+rand.Text()))
	})
}
