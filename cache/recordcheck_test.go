package cache

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// someRecords is one record of each table, as the program writes them.
func someRecords() []op {
	id := Identity{Size: 5, Mtime: 1_700_000_000_000_000_000, Ino: 42}
	a := attrs{Mode: 0o644, UID: 1, GID: 2}
	tracker := &trackerRecord{Seq: 7, Path: "run/latest", Content: []byte("checkpoint_000001"), ID: id, Attrs: a}
	unit := "run/checkpoint_000001"
	m := &layout.Manifest{Version: 1, Unit: unit, Node: "n1", Files: []layout.File{{Path: "f", Type: layout.TypeFile, Size: 5}}}
	return []op{
		put(tableFile, unit+"/f", fileRecord{ID: id, Attrs: a, CRC32C: 1, ETag: "x", Mine: true}),
		put(tableDir, "run", dirRecord{Marker: true, Mode: 0o755}),
		put(tableTomb, "run/old", tombstone{Seq: 3, After: "run/new"}),
		put(tableTomb, "run/dir/", tombstone{Seq: 4}),
		put(tableTomb, "run/checkpoint_000000", tombstone{Seq: 5, Unit: true}),
		put(tableHint, "run/new", copyHint{ID: id, Key: "run/old", ETag: "x"}),
		put(tableSeal, unit, sealRecord{Seq: 6, Manifest: m, IDs: []Identity{id}, Publishing: true}),
		put(tableStage, unit+"/f", stageRecord{ID: id}),
		put(tableTorn, unit, tornRecord{Since: time.Unix(0, 0), Why: "why", Files: []string{unit + "/f"}, Inos: []uint64{42}}),
		put(tableTracker, trackerKey(tracker), tracker),
		put(tableOpen, unit, openRecord{Since: time.Unix(0, 0)}),
		put(tableOwn, unit, ownRecord{Generation: 2}),
		put(tableMoved, "run/moved", movedRecord{Seq: 8, Key: "run/from", ETag: "x", Size: 5}),
		put(tableIntent, "run/a", renameIntent{Seq: 9, Old: "run/a", New: "run/b", Ino: 42}),
		put(tableUnsynced, inodeKey(42), fetchedRecord{Path: unit + "/f", ID: id}),
		put(tableSent, "run/x", sentRecord{Contents: []sentContent{{5, 1}}}),
		put(tableMeta, lifeKey, 3),
	}
}

func TestRecordsOfEveryTableAreBelieved(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range someRecords() {
		seen[o.key[:2]] = true
		if err := checkRecord(o.key, o.value); err != nil {
			t.Errorf("%s: %v", o.key, err)
		}
	}
	for table := range recordChecks {
		if !seen[table] {
			t.Errorf("this test has no record of table %s", table)
		}
	}
}

// P5: what a start cannot use is found out before it believes the journal, which is then set
// aside. Each of these once ended every start, or led out of the tree.
func TestRecordsThatCannotBeUsedAreNotBelieved(t *testing.T) {
	for _, r := range [][2]string{
		{"x/run/c", `{"files":["run/c/f","run/c/g"],"inos":[1]}`}, // was a panic
		{"x/run/c", `{"files":["../../etc/passwd"],"inos":[1]}`},
		{"t/..", `{"seq":1}`},
		{"t/a", `{"seq":1,"after":"../x"}`},
		{"t/a", `{"seq":"1"}`},
		{"r/a", `{"key":"b//c"}`},
		{"i/a", `{"old":"a","new":"a/../../b"}`},
		{"k/latest\x0000000000000000000001", `{"seq":1,"path":"../latest"}`},
		{"k/latest", `{"seq":1,"path":"latest"}`},
		{"w/0000000000000001", `{"path":"/etc/passwd"}`},
		{"c/a/./b", `{}`},
		{"c/a", `[]`},
		{"m/life", `{}`},
		{"?/a", `{`},
		{"", ``},
	} {
		if err := checkRecord(r[0], []byte(r[1])); err == nil {
			t.Errorf("%q: %s is believed", r[0], r[1])
		}
	}
}

// Whatever a record of the journal says, a start either does not believe it, or gets through
// with it: it ends in no error and no panic, and touches nothing outside the tree.
func FuzzJournalRecord(f *testing.F) {
	for _, o := range someRecords() {
		f.Add(o.key, o.value, false)
		f.Add(o.key, o.value, true)
	}
	f.Add("x/run/c", []byte(`{"files":["run/c/f","run/c/g"],"inos":[1]}`), false)
	f.Add("x/run/checkpoint_000001", []byte(`{"files":["run/checkpoint_000001/f","run/checkpoint_000001/f"],"inos":[1]}`), false)
	f.Add("t/..", []byte(`{"seq":1}`), false)
	f.Add("s/run/checkpoint_000001", []byte(`{"manifest":null,"ids":[{}]}`), true)
	b := newFuzzCache(f, silentStore{})
	f.Fuzz(func(t *testing.T, key string, value []byte, rebooted bool) {
		if checkRecord(key, value) != nil || len(key) > 1000 || len(key) < 3 || key[:2] == "m/" || !json.Valid(value) {
			return
		}
		c := b.fresh(t)
		if rebooted {
			c.cfg.BootID = "another boot"
		}
		for _, file := range []string{"run/checkpoint_000001/f", "run/latest", "run/old", "run/b"} {
			path := filepath.Join(b.cfg.Dir, "tree", file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.journal.write(op{key, value}); err != nil {
			return // Badger takes no such key
		}
		if err := c.recover(context.Background()); err != nil {
			t.Errorf("a start with the record %q %s: %v", key, value, err)
		}
	})
}
