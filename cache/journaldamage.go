package cache

import (
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
	c.log.Error("journal is damaged", "err", err)
	return c.newJournal()
}

// newJournal sets the journal aside and begins another one.
func (c *Cache) newJournal() (*journal, error) {
	dir := filepath.Join(c.dir, "journal")
	aside := filepath.Join(c.dir, "lost+found", "journal-"+time.Now().UTC().Format("20060102T150405.000"))
	c.log.Error("the journal is set aside, and a new one begun. Nothing has to be done: every local file is compared with the store; "+
		"what differs goes to lost+found, and deletions that the store had not seen are forgotten", "aside", aside)
	if err := os.Rename(dir, aside); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return openJournal(dir, c.log)
}

const (
	tableMeta = "m/"
	lifeKey   = "life"
)

// countLife finds out whether the journal is the one of the last start, or has lost its end, or
// was put back from a copy. An old one must not be believed: it may have deletions that
// were carried out long ago, under names that others have used since.
//
// The journal counts first: a crash before node.json does leaves it ahead, and that is no harm.
func (c *Cache) countLife() error {
	var life uint64
	if _, err := c.journal.get(tableMeta, lifeKey, &life); err != nil {
		return err
	}
	if life < c.node.Life {
		c.log.Error("journal is older than the last start: put back from a copy, cut off or deleted", "starts", c.node.Life, "journal", life)
		if err := c.journal.close(); err != nil {
			c.log.Warn("the old journal cannot be closed", "err", err)
		}
		c.journal = nil
		j, err := c.newJournal()
		if err != nil {
			return err
		}
		c.journal = j
	}
	c.tellCopied()
	life = max(life, c.node.Life) + 1
	if err := c.journal.durably(put(tableMeta, lifeKey, life)); err != nil {
		return err
	}
	if err := c.node.lives(c.dir, life); err != nil {
		c.log.Warn("cannot note this start in node.json: an older copy of the journal would not be recognised as one", "err", err)
	}
	return nil
}

// tellCopied warns of a directory that is not where the last start was: whoever uses the other one
// too has two nodes of one id (docs/guarantees.md, "Gaps").
func (c *Cache) tellCopied() {
	st, err := c.tree.lstat("")
	if err != nil {
		return
	}
	if was := c.node.Tree; was != 0 && was != st.Ino {
		c.log.Warn("this cache directory was copied, or moved to another disk. Do not use it and the one it comes from at the same time: "+
			"they would be one node to all others. To use both, remove node.json and journal/ here while it is not mounted: "+
			"what is here is then compared with the store, and nothing replaced or lost",
			"path", c.dir, "node", c.node.Node)
	}
	c.node.Tree = st.Ino
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
				if err := checkRecord(string(item.Key()), b); err != nil {
					return fmt.Errorf("%w: record %q cannot be used: %w", errDamaged, item.Key(), err)
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
