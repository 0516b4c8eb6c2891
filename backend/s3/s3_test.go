package s3_test

import (
	"crypto/rand"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/backend/storetest"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

// open opens a store at an URL.
func open(t *testing.T, url string) *s3.Store {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), loc, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	storetest.Run(t, func(t *testing.T) backend.Store {
		return open(t, server.URL("runs/"+rand.Text()))
	})
}
