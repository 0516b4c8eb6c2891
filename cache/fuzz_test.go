package cache

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// fuzzCache makes caches that know nothing, one after the other, over one journal and one
// tree: to open a Badger each time would leave a fuzz test with a hundred tries a second.
type fuzzCache struct {
	cfg     Config
	tree    *tree
	journal *journal
	last    *Cache
}

func newFuzzCache(f *testing.F, store backend.Store) *fuzzCache {
	names, err := layout.New(layout.Options{})
	if err != nil {
		f.Fatal(err)
	}
	b := &fuzzCache{cfg: Config{
		Dir: fuzzDir(f), Store: store, Layout: names, BootID: "boot",
		ListTTL: time.Hour, CreateTTL: time.Hour, StoreTimeout: time.Minute,
	}}
	if err := b.cfg.applyDefaults(); err != nil {
		f.Fatal(err)
	}
	for _, d := range []string{"tree", "journal", "fetch", "lost+found"} {
		if err := os.MkdirAll(filepath.Join(b.cfg.Dir, d), 0o700); err != nil {
			f.Fatal(err)
		}
	}
	if b.tree, err = openTree(filepath.Join(b.cfg.Dir, "tree")); err != nil {
		f.Fatal(err)
	}
	if b.journal, err = openJournal(filepath.Join(b.cfg.Dir, "journal"), slog.New(slog.DiscardHandler)); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		b.end()
		if err := b.journal.close(); err != nil {
			f.Error(err)
		}
		b.tree.close()
	})
	return b
}

// fuzzDir is in memory where that can be: nothing here is about the disk.
func fuzzDir(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "trainfs-fuzz-")
	if err != nil {
		return f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fresh is a cache with an empty tree and an empty journal. The one before it ends.
func (b *fuzzCache) fresh(t *testing.T) *Cache {
	t.Helper()
	b.end()
	for _, d := range []string{"tree", "fetch", "lost+found"} {
		list, err := os.ReadDir(filepath.Join(b.cfg.Dir, d))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := os.RemoveAll(filepath.Join(b.cfg.Dir, d, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.journal.write(b.forget(t)...); err != nil {
		t.Fatal(err)
	}
	c := newCache(b.cfg, &nodeFile{Format: formatVersion, Node: "n1"}, nil)
	c.tree, c.journal = b.tree, b.journal
	c.names, c.fetches, c.unsynced = newNames(c), newFetches(c), newUnsynced(c)
	c.idents.init(c.tree.dev)
	b.last = c
	return c
}

func (b *fuzzCache) forget(t *testing.T) (ops []op) {
	err := b.journal.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			ops = append(ops, op{key: string(it.Item().KeyCopy(nil))})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func (b *fuzzCache) end() {
	if b.last == nil {
		return
	}
	b.last.fetches.close()
	if b.last.opens != nil {
		b.last.opens.close()
	}
	b.last = nil
}
