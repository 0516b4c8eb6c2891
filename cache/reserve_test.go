package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of so many MiB.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("trainfs-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the space that is left on the disk, and gives it back when it is removed.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []int{1 << 20, 4096} {
		for b := make([]byte, n); err == nil; {
			_, err = f.Write(b)
		}
		if !isNoSpace(err) {
			t.Fatal(err)
		}
		err = nil
	}
}

func smallJournal(t *testing.T, dir string) *journal {
	t.Helper()
	return journalOn(t, dir, allocate)
}

func journalOn(t *testing.T, dir string, allocate func(string, int64) error) *journal {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j, err := openJournalOn(dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), allocate)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// heldWithin waits for the journal's reserve to be there, which it is not while Badger has it.
func heldWithin(disk string, patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(disk, "journal.reserve")); err == nil {
			return true
		}
	}
	return false
}

func number(i int) op {
	return put(tableFile, fmt.Sprintf("run/checkpoint_%06d/%s", i, strings.Repeat("x", 50)), fileRecord{ETag: fmt.Sprint(i)})
}

func checkNumbers(t *testing.T, j *journal, n int) {
	t.Helper()
	for i := 0; i < n; i += 1 + min(6, n-1-i) { // each seventh, and the last
		var r fileRecord
		key := strings.TrimPrefix(number(i).key, tableFile)
		if found, err := j.get(tableFile, key, &r); err != nil || !found || r.ETag != fmt.Sprint(i) {
			t.Fatalf("record %d of %d: found %v, %+v, err %v", i, n, found, r, err)
		}
	}
}

// Without blocks behind Badger's mapped files, this test is killed by SIGBUS.
func TestFullDiskRefusesRecordsAndKeepsTheDaemonAlive(t *testing.T) {
	disk := smallDisk(t, 160)
	dir, filler := filepath.Join(disk, "journal"), filepath.Join(disk, "filler")
	j := smallJournal(t, dir)
	fill(t, filler)

	// More than one log's worth: the ballast has to carry at least one turn.
	written := 0
	for ; written < 400_000; written += 500 {
		ops := make([]op, 500)
		for k := range ops {
			ops[k] = number(written + k)
		}
		if err := j.write(ops...); err != nil {
			if !isNoSpace(err) {
				t.Fatalf("after %d records: %v", written, err)
			}
			break
		}
		if written%10_000 == 0 && heldWithin(disk, 5*time.Second) {
			fill(t, filler) // whatever is free, a program takes; but not what is lent (G10)
		}
	}
	t.Logf("%d records before ENOSPC", written)
	if written*200 < memTableBytes {
		t.Errorf("only %d records went into a journal on a full disk", written)
	}
	checkNumbers(t, j, written)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := j.write(number(written)); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	written++
	waitFor(t, "the reserve to be taken again", func() bool {
		_, err := os.Stat(filepath.Join(disk, "journal.reserve"))
		return err == nil
	})
	fill(t, filler)
	if err := j.close(); err != nil {
		t.Fatalf("close on a full disk: %v", err)
	}

	j = smallJournal(t, dir)
	checkNumbers(t, j, written)
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalWithoutRoomIsRefusedByName(t *testing.T) {
	disk := smallDisk(t, 160)
	fill(t, filepath.Join(disk, "filler"))
	dir := filepath.Join(disk, "journal")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := openJournal(dir, slog.New(slog.DiscardHandler))
	if !isNoSpace(err) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v, want ENOSPC that names %s", err, dir)
	}
}

// A value beyond what Badger keeps in its tables lies in a value log, which is mapped too.
func TestFullDiskRefusesLargeRecords(t *testing.T) {
	disk := smallDisk(t, 400)
	filler := filepath.Join(disk, "filler")
	j := smallJournal(t, filepath.Join(disk, "journal"))
	fill(t, filler)
	large := put(tableSeal, "run/checkpoint_1", strings.Repeat("x", 3<<20))
	refused := false
	for range 40 {
		if err := j.write(large); err != nil {
			if !isNoSpace(err) {
				t.Fatalf("%.300v", err)
			}
			refused = true
			break
		}
		fill(t, filler)
	}
	if !refused {
		t.Error("120 MiB went into a full disk")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := j.write(large); err != nil {
		t.Errorf("with space again: %.300v", err)
	}
	if err := j.close(); err != nil {
		t.Error(err)
	}
}

// quota stands in for one that the kernel keeps and statfs does not tell of: beyond it no
// file gets a block. (A real one kills whoever writes there through a mapping, by SIGBUS.)
type quota struct {
	t    *testing.T
	disk string
	most atomic.Int64 // bytes
}

func (q *quota) used() (total int64) {
	q.t.Helper()
	err := filepath.WalkDir(q.disk, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && d.Type().IsRegular() && unix.Lstat(path, &st) == nil {
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		q.t.Error(err)
	}
	return total
}

func (q *quota) allocate(name string, n int64) error {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return err
	}
	if more := n - st.Blocks*512; more > 0 && q.used()+more > q.most.Load() {
		return unix.EDQUOT
	}
	return allocate(name, n)
}

// P7: of a user's quota statfs tells nothing. The journal refuses records, and never writes to
// blocks that it has not got: that would be the end of the daemon.
func TestQuotaRefusesRecordsAndKeepsTheDaemonAlive(t *testing.T) {
	disk := smallDisk(t, 600)
	dir := filepath.Join(disk, "journal")
	q := &quota{t: t, disk: disk}
	q.most.Store(600 << 20)
	j := journalOn(t, dir, q.allocate)
	most := q.used() + 4<<20
	q.most.Store(most)
	path := func(i int) string { return fmt.Sprintf("run/f%06d", i) }
	write := func(i int) error { // few and long, for this is about blocks
		return j.write(put(tableFile, path(i), fileRecord{ETag: strings.Repeat("x", 32<<10)}))
	}
	written, err := 0, error(nil)
	for ; written < 10_000; written++ {
		if err = write(written); err != nil {
			break
		}
		if used := q.used(); used > most {
			t.Fatalf("after %d records %d MiB are in use, the quota is %d MiB", written, used>>20, most>>20)
		}
	}
	if !errors.Is(err, unix.EDQUOT) {
		t.Fatalf("after %d records: %v, want EDQUOT", written, err)
	}
	t.Logf("%d records before EDQUOT", written)
	q.most.Store(600 << 20)
	if err := write(written); err != nil {
		t.Errorf("with a larger quota: %v", err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j = smallJournal(t, dir)
	for i := range written + 1 {
		if found, err := j.get(tableFile, path(i), &fileRecord{}); err != nil || !found {
			t.Errorf("record %d of %d: found %v, %v", i, written, found, err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
}
