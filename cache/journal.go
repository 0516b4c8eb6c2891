package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// journal is the store of what is already safe, in Badger. Each record is JSON
// under a one-letter table and a path (docs/format.md lists them).
//
// Writes go through one goroutine that commits whatever has gathered meanwhile in
// one transaction; write returns once its own are in. Committed writes survive
// the death of the process, because Badger's log is a shared mapping; only those
// asked for with durably or soon, and what was written before them, survive a power cut too.
type journal struct {
	db     *badger.DB
	space  *reserve
	writes chan *journalWrite
	done   sync.WaitGroup

	syncFile func(name string) error
}

type journalWrite struct {
	ops    []op
	sync   syncing
	result chan error
}

// syncing says when a write has to survive a power cut.
type syncing uint8

const (
	atLeisure  syncing = iota // whenever something else is synced
	afterwards                // right after write has returned
	first                     // before it returns
)

// op sets a record, or deletes it where value is nil.
type op struct {
	key   string
	value []byte
}

// Tables of the journal.
const (
	tableFile     = "c/" // path -> fileRecord: what the store holds of it
	tableDir      = "d/" // path -> dirRecord
	tableTomb     = "t/" // key -> tombstone
	tableHint     = "h/" // path -> copyHint
	tableSeal     = "s/" // unit -> sealRecord
	tableStage    = "u/" // path -> stageRecord
	tableTorn     = "x/" // unit -> tornRecord
	tableTracker  = "k/" // tracker NUL seq -> trackerRecord
	tableOpen     = "o/" // unit -> openRecord: our .open marker is, or may be, in the store
	tableOwn      = "p/" // unit -> ownRecord: our manifest is, or may be, in the store
	tableMoved    = "r/" // path -> movedRecord
	tableIntent   = "i/" // old directory -> renameIntent
	tableUnsynced = "w/" // inode -> fetchedRecord
	tableSent     = "e/" // path -> sentRecord
)

func put(table, key string, v any) op {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("journal record %s%s: %v", table, key, err)) // our own types only
	}
	return op{table + key, b}
}

func del(table, key string) op { return op{key: table + key} }

func openJournal(dir string, log *slog.Logger) (*journal, error) {
	return openJournalOn(dir, log, allocate)
}

// openJournalOn is openJournal for a disk whose blocks allocate hands out.
func openJournalOn(dir string, log *slog.Logger, allocate func(string, int64) error) (_ *journal, err error) {
	defer recovered(&err)
	if err := checkTables(dir); err != nil {
		return nil, err
	}
	space, err := newReserve(dir, log, allocate)
	if err != nil {
		return nil, err
	}
	if err := dropEmptyLogs(dir); err != nil {
		return nil, err
	}
	o := badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithMemTableSize(memTableBytes).WithNumMemtables(2).WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).
		WithValueLogFileSize(valueLogBytes).WithValueThreshold(valueThreshold).
		WithBlockCacheSize(0).WithIndexCacheSize(0).WithCompression(options.None).
		WithNumCompactors(2).WithMetricsEnabled(false).WithDetectConflicts(false).
		WithVerifyValueChecksum(true)
	db, err := badger.Open(o)
	if err != nil {
		return nil, err
	}
	if err := checkRecords(db); err != nil {
		return nil, errors.Join(err, closeDamaged(db))
	}
	j := &journal{db: db, space: space, writes: make(chan *journalWrite, 1024), syncFile: syncPath}
	if err := space.opened(j.atRest); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	j.done.Add(1)
	go j.writer()
	return j, nil
}

func (j *journal) close() error {
	close(j.writes)
	j.done.Wait()
	closed, err := j.space.closing()
	if err != nil {
		// The next start finds the records in Badger's log, as after a kill.
		j.space.log.Warn("the disk is full: the journal is left as it is", "err", err)
		return j.db.Sync()
	}
	defer closed()
	return j.db.Close()
}

// atRest tells that no table is due to be merged into others.
func (j *journal) atRest() bool {
	for _, l := range j.db.Levels() {
		if l.Score >= 1 || l.Adjusted >= 1 {
			return false
		}
	}
	return true
}

// write commits ops, together.
func (j *journal) write(ops ...op) error { return j.commit(ops, atLeisure) }

// soon commits ops, and syncs them when it has returned: nobody waits for the disk.
func (j *journal) soon(ops ...op) error { return j.commit(ops, afterwards) }

// durably commits ops and returns once they, and all that was written before, survive a
// power cut.
func (j *journal) durably(ops ...op) error { return j.commit(ops, first) }

func (j *journal) commit(ops []op, s syncing) error {
	if len(ops) == 0 && s != first {
		return nil
	}
	w := &journalWrite{ops, s, make(chan error, 1)}
	j.writes <- w
	return <-w.result
}

func (j *journal) writer() {
	defer j.done.Done()
	tend := time.NewTicker(reserveEvery)
	defer tend.Stop()
	for {
		var first *journalWrite
		var ok bool
		select {
		case <-tend.C:
			j.space.tend()
			continue
		case first, ok = <-j.writes:
			if !ok {
				return
			}
		}
		group := []*journalWrite{first}
		for more := true; more && len(group) < 512; {
			select {
			case w, ok := <-j.writes:
				if more = ok; ok {
					group = append(group, w)
				}
			default:
				more = false
			}
		}
		err := j.apply(group)
		after := false
		for _, w := range group {
			after = after || w.sync == afterwards
			w.result <- err
		}
		if after && err == nil {
			if err := j.sync(); err != nil {
				j.space.log.Error("the journal cannot be synced", "err", err)
			}
		}
	}
}

// sync puts all that was written on the disk. Badger's own Sync is about the log that it
// writes now; one that it has just turned away from is on the disk only once its table is.
func (j *journal) sync() error {
	if err := j.db.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	logs, err := j.space.logs()
	for i := 0; err == nil && i < len(logs)-1; i++ {
		if err = j.syncFile(filepath.Join(j.space.dir, logs[i])); errors.Is(err, fs.ErrNotExist) {
			err = nil // its table has been written meanwhile, and synced
		}
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *journal) apply(group []*journalWrite) error {
	if err := j.space.before(group); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer j.space.after()
	txn := j.db.NewTransaction(true)
	defer func() { txn.Discard() }()
	durable := false
	for _, w := range group {
		durable = durable || w.sync == first
		for _, o := range w.ops {
			err := set(txn, o)
			if errors.Is(err, badger.ErrTxnTooBig) {
				// Splitting is safe: what belongs together is ordered so that any prefix of it is
				// a state that recovery knows.
				if err = txn.Commit(); err == nil {
					txn = j.db.NewTransaction(true)
					err = set(txn, o)
				}
			}
			if err != nil {
				return fmt.Errorf("journal: %w", err)
			}
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if durable {
		return j.sync()
	}
	return nil
}

func set(txn *badger.Txn, o op) error {
	if o.value == nil {
		return txn.Delete([]byte(o.key))
	}
	return txn.Set([]byte(o.key), o.value)
}

// get reads one record into v and tells whether there is one.
func (j *journal) get(table, key string, v any) (found bool, err error) {
	err = j.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(table + key))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		return item.Value(func(b []byte) error { return decode(table+key, b, v) })
	})
	return found, err
}

// below calls f with every record whose key is path or lies below it ("" is all).
func below[T any](j *journal, table, path string, f func(key string, v T) error) error {
	return j.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: []byte(table + path)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			key := strings.TrimPrefix(string(item.Key()), table)
			if !under(key, path) {
				continue
			}
			var v T
			if err := item.Value(func(b []byte) error { return decode(table+key, b, &v) }); err != nil {
				return err
			}
			if err := f(key, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func decode(key string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("journal record %q: %w", key, err)
	}
	return nil
}

// badgerLog passes on what matters; Badger's news of its own housekeeping does not.
type badgerLog struct{ *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any) {
	l.Error("journal", "msg", strings.TrimSpace(fmt.Sprintf(f, a...)))
}
func (l badgerLog) Warningf(f string, a ...any) {
	l.Warn("journal", "msg", strings.TrimSpace(fmt.Sprintf(f, a...)))
}
func (l badgerLog) Infof(string, ...any)  {}
func (l badgerLog) Debugf(string, ...any) {}
