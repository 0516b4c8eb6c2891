package azure_test

import (
	"crypto/rand"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/storetest"
	"github.com/trainfs/trainfs/backend/storetest/azurite"
)

// open opens a store at an URL.
func open(t *testing.T, url string) *azure.Store {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := azure.Open(t.Context(), loc, azure.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	server := azurite.Start(t)
	server.Setenv(t)
	storetest.Run(t, func(t *testing.T) backend.Store {
		return open(t, server.URL("runs/"+rand.Text()))
	})
}
