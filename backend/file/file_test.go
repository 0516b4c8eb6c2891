package file_test

import (
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/file"
	"github.com/trainfs/trainfs/backend/storetest"
)

// open opens a store at dir.
func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	loc, err := backend.ParseLocation(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := file.Open(t.Context(), loc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) backend.Store { return open(t, t.TempDir()) })
}
