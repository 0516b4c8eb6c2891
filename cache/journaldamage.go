package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// errDamaged says that the journal cannot be believed.
var errDamaged = errors.New("the journal is damaged")

// openJournal opens the journal; a damaged one is set aside, for it only says what
// need not be done again (I2).
func (c *Cache) openJournal() (*journal, error) {
	dir := filepath.Join(c.dir, "journal")
	j, err := openJournal(dir, c.log)
	if err == nil {
		return j, nil
	}
	if isNoSpace(err) || os.IsPermission(err) {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	aside := filepath.Join(c.dir, "lost+found", "journal-"+time.Now().UTC().Format("20060102T150405.000"))
	c.log.Error("journal is damaged: set aside, starting a new one; every local file is compared with the store again",
		"err", err, "path", aside)
	if err := os.Rename(dir, aside); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return openJournal(dir, c.log)
}

// checkTables reads every table that the manifest names, and checks its sums. Badger believes
// what it reads, and where that is nonsense it dies, in a goroutine of its own: then no
// start would get any further. Tables that are not named are what a kill has left of one that
// was being written; Badger removes them.
func checkTables(dir string) (err error) {
	defer recovered(&err)
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // new; or Badger says what is wrong
	}
	if err != nil {
		return err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	for id := range m.Tables {
		if err := checkTable(table.NewFilename(id, dir)); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return nil
}

func checkTable(name string) error {
	if st, err := os.Stat(name); err != nil {
		return err
	} else if st.Size() == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	file, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	t, err := table.OpenTable(file, table.Options{ReadOnly: true, ChkMode: options.OnTableRead})
	if err != nil {
		return err
	}
	return t.Close(-1)
}

// checkRecords reads every record once: what is wrong must show now, and not in the middle
// of a request.
func checkRecords(db *badger.DB) (err error) {
	defer recovered(&err)
	return db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(b []byte) error {
				if !json.Valid(b) {
					return fmt.Errorf("%w: record %q cannot be read", errDamaged, item.Key())
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func closeDamaged(db *badger.DB) (err error) {
	defer recovered(&err)
	return db.Close()
}

// recovered makes an error of a panic: Badger believes what it reads.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errDamaged, p)
	}
}
