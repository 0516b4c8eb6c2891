package mem_test

import (
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/backend/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) backend.Store { return mem.New() })
}
