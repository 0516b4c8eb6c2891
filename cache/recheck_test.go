package cache

import (
	"os"
	"testing"
	"time"
)

// What a mapping writes is looked for until ten minutes have passed, and thousands of
// committed files do not cost thousands of looks every few seconds.
func TestCommittedFilesAreLookedAtAgainAtDoublingIntervals(t *testing.T) {
	c := &Cache{}
	start := time.Now()
	c.mu.recent = map[string]recheck{"run/model.pt": newRecheck()}
	var looks []time.Duration
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		for range c.dueRechecks(start.Add(at)) {
			looks = append(looks, at)
		}
	}
	if len(looks) == 0 || len(looks) > 9 {
		t.Fatalf("%d looks: %v", len(looks), looks)
	}
	if looks[0] > 10*time.Second {
		t.Errorf("the first look is after %s", looks[0])
	}
	if last := looks[len(looks)-1]; last < recentFor {
		t.Errorf("the last look is after %s, before the promised %s", last, recentFor)
	}
	if len(c.mu.recent) != 0 {
		t.Error("the file is never forgotten")
	}
}

// P5: a file is looked at again while its next commit ends. It is what the store has by then, and
// its unit must not become dirty: nobody would say of that one that it is finished.
func TestFileThatIsLookedAtAgainAsItsCommitEndsIsNotTakenForChanged(t *testing.T) {
	const path, unit = "run/checkpoint_best/f0", "run/checkpoint_best"
	c := bareCache(t)
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/"+unit, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/"+path, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.root.Close()
	c.tree = tr
	c.mu.units = map[string]*Unit{unit: {Path: unit, Dir: true, Class: c.cfg.Layout.Classify(unit, true)}}
	if err := c.journal.write(put(tableFile, path, fileRecord{})); err != nil { // what was committed before
		t.Fatal(err)
	}

	c.mu.Lock()
	done := make(chan struct{})
	go func() { c.recheckFile(path); close(done) }()
	waitsInside(t, "recheckFile")
	st, err := tr.lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.journal.write(put(tableFile, path, fileRecord{ID: identityOf(&st), Attrs: attrsOf(&st)})); err != nil { // as Committed does
		t.Fatal(err)
	}
	delete(c.mu.units, unit)
	c.mu.Unlock()
	<-done
	if len(c.mu.units) > 0 {
		t.Error("the unit is dirty again")
	}
}
