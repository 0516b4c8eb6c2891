package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dropEmptyLogs removes logs of Badger's that have no bytes at all. A kill leaves one when it
// comes between two steps of Badger's: a new log is made and then gets its size, and one whose
// records have all been written out as a table is cut to nothing and then removed. Nothing is
// in it either way; but Badger refuses to open a directory with one, and the journal would be
// taken for damaged.
func dropEmptyLogs(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".mem") && !strings.HasSuffix(e.Name(), ".vlog") {
			continue
		}
		if info, ierr := e.Info(); ierr == nil && info.Size() == 0 {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
