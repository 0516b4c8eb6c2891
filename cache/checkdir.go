package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/gofrs/flock"
)

// DirReport is what CheckDir has found in a cache directory that is not mounted.
type DirReport struct {
	Dir       string       `json:"cache_dir"`
	Node      string       `json:"node,omitempty"`
	Source    string       `json:"source,omitempty"`
	Records   int          `json:"journal_records"`
	Files     int          `json:"files"`
	Dirty     int          `json:"files_to_upload"`
	Bytes     int64        `json:"bytes_to_upload"`
	Deletions int          `json:"deletions"`
	Torn      []string     `json:"torn"`
	LostFound []string     `json:"lost_and_found"`
	Problems  []DirProblem `json:"problems"`
}

// DirProblem is a thing that is wrong, and what becomes of it.
type DirProblem struct {
	What     string `json:"what"`
	Remedy   string `json:"remedy"`
	Repaired bool   `json:"repaired"`
}

const journalRemedy = "the journal is set aside in lost+found and a new one begun; no file is lost: each is compared with the store at the next mount, " +
	"what differs is set aside, and deletions that the store had not seen are forgotten"

// CheckDir looks at a cache directory that no daemon uses. It reads a copy of the journal: what
// is there is changed by repair alone, and then only by setting aside what cannot be believed.
func CheckDir(dir string, repair bool) (_ *DirReport, err error) {
	if st, err := os.Stat(filepath.Join(dir, "tree")); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%s is no cache directory of trainfs: it has no tree/", dir)
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock cache directory %s: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s; unmount it first, or see trainfs status", ErrLocked, dir)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r := &DirReport{Dir: dir, Torn: []string{}, LostFound: []string{}, Problems: []DirProblem{}}
	node, err := readNode(dir)
	switch {
	case errors.Is(err, ErrFormat):
		return nil, err // and nothing else here is for us to judge
	case err != nil:
		r.problem(fmt.Sprintf("node.json cannot be read: %v", err),
			"it is set aside in lost+found; the next mount makes a new node id, and compares every file with the store", repair && r.aside("node.json", err))
		node = &nodeFile{}
	}
	r.Node, r.Source = node.Node, node.Source
	if err := r.readJournal(node.Life, repair); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(filepath.Join(dir, "lost+found"))
	for _, e := range names {
		r.LostFound = append(r.LostFound, e.Name())
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return r, err
}

// Sound tells that nothing is wrong, or no more.
func (r *DirReport) Sound() bool {
	for _, p := range r.Problems {
		if !p.Repaired {
			return false
		}
	}
	return true
}

func (r *DirReport) problem(what, remedy string, repaired bool) {
	r.Problems = append(r.Problems, DirProblem{what, remedy, repaired})
}

// aside moves something of the cache directory to lost+found, if it is there.
func (r *DirReport) aside(name string, why error) bool {
	if errors.Is(why, os.ErrNotExist) {
		return true
	}
	to := filepath.Join(r.Dir, "lost+found", name+"-"+time.Now().UTC().Format("20060102T150405.000"))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return false
	}
	return os.Rename(filepath.Join(r.Dir, name), to) == nil && syncPath(filepath.Dir(to)) == nil && syncPath(r.Dir) == nil
}

// readJournal opens a copy, and compares with the tree what it says.
func (r *DirReport) readJournal(life uint64, repair bool) (err error) {
	tmp, err := os.MkdirTemp("", "trainfs-fsck-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	dir := filepath.Join(tmp, "journal")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(r.Dir, "journal"))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copy the journal: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	j, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if isNoSpace(err) {
		return fmt.Errorf("read a copy of the journal in %s: %w; set TMPDIR to a disk with room", tmp, err)
	}
	if err != nil {
		r.problem(fmt.Sprintf("the journal cannot be read: %v", err), journalRemedy, repair && r.aside("journal", nil))
		return nil
	}
	defer func() { err = errors.Join(err, j.close()) }()
	var now uint64
	if _, err := j.get(tableMeta, lifeKey, &now); err != nil {
		return err
	}
	if now < life {
		r.problem(fmt.Sprintf("the journal is of start %d, and there were %d: it was put back from a copy, cut off or deleted", now, life),
			journalRemedy, repair && r.aside("journal", nil))
		return nil
	}
	return r.compare(j)
}

func (r *DirReport) compare(j *journal) error {
	err := j.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := string(it.Item().Key())
			r.Records++
			if strings.HasPrefix(key, tableTomb) {
				r.Deletions++
			}
			if unit, ok := strings.CutPrefix(key, tableTorn); ok {
				r.Torn = append(r.Torn, unit)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t, err := openTree(filepath.Join(r.Dir, "tree"))
	if err != nil {
		return err
	}
	defer t.close()
	return t.walk("", func(p string, st *syscall.Stat_t) error {
		if isDir(st) {
			return nil
		}
		r.Files++
		var rec fileRecord
		if found, err := j.get(tableFile, p, &rec); err != nil || found && rec.clean(st) {
			return err
		}
		r.Dirty++
		r.Bytes += st.Size
		return nil
	})
}
