package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func openDirStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), backend.Location{Scheme: "file", Prefix: strings.TrimPrefix(dir, "/")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// staged gives a stage of two parts of 4 bytes, both put.
func staged(t *testing.T, s *Store) (backend.Stage, []backend.Part, uint32) {
	t.Helper()
	data := []byte("onetwo")
	st, err := s.BeginStage(t.Context(), "d/a", 6, 3, backend.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []backend.Part
	for n := 1; n <= 2; n++ {
		off, size := st.Range(n)
		p, err := s.PutPart(t.Context(), st, n, backend.Content{
			R: bytes.NewReader(data), Offset: off, Size: size, CRC32C: crc32c.Checksum(data[off : off+size])})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	return st, parts, crc32c.Checksum(data)
}

func inStaging(dir, name string) string { return filepath.Join(dir, stagingDir, name) }

func TestACrashInAConditionalPublishLeavesItPublished(t *testing.T) {
	dir := t.TempDir()
	s := openDirStore(t, dir)
	st, parts, crc := staged(t, s)
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The first of its two steps:
	if err := os.Link(inStaging(dir, st.ID+dataSuffix), filepath.Join(dir, "d/a")); err != nil {
		t.Fatal(err)
	}
	_, err := s.PutPart(t.Context(), st, 1, backend.Content{
		R: strings.NewReader("bad"), Size: 3, CRC32C: crc32c.Checksum([]byte("bad"))})
	if !errors.Is(err, backend.ErrNoStage) {
		t.Errorf("put part: %v", err)
	}
	if _, err := s.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); !errors.Is(err, backend.ErrNoStage) {
		t.Errorf("publish: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "d/a")); err != nil || string(data) != "onetwo" {
		t.Errorf("the object has %q, %v", data, err)
	}
	if err := s.AbortStage(t.Context(), st); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, stagingDir)); err != nil || len(left) > 0 {
		t.Errorf("left in staging: %v, %v", left, err)
	}
}

// A kill between two steps of BeginStage must leave nothing that gc is never shown: first
// comes a name that the sweep removes, then one that is listed, then the data.
func TestACrashInBeginStageLeavesNothingThatIsNeverListed(t *testing.T) {
	dir := t.TempDir()
	s := openDirStore(t, dir)
	staged(t, s) // so that the directory is there
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, filepath.Join(dir, stagingDir), unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginStage(t.Context(), "a", 6, 3, backend.Attr{}); err != nil {
		t.Fatal(err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil {
		t.Fatal(err)
	}
	var appeared []string
	for events = events[:n]; len(events) > 0; {
		size := int(binary.NativeEndian.Uint32(events[12:])) // inotify(7): of the name
		appeared = append(appeared, filepath.Ext(unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])))
		events = events[unix.SizeofInotifyEvent+size:]
	}
	if want := []string{tempSuffix, partsSuffix, dataSuffix}; !slices.Equal(appeared, want) {
		t.Errorf("in staging appear %q, want %q", appeared, want)
	}
}

func TestACrashInPutPartLosesOnlyThatPart(t *testing.T) {
	dir := t.TempDir()
	s := openDirStore(t, dir)
	for name, tail := range map[string]string{
		"before the write":  "\n{\"n\":2}\n",
		"in the first line": "\n{\"n\"",
		"in the last line":  "\n{\"n\":2}\n\n{\"n\":2,\"size\":3,\"etag\":\"",
	} {
		t.Run(name, func(t *testing.T) {
			st, parts, crc := staged(t, s)
			log, err := os.OpenFile(inStaging(dir, st.ID+partsSuffix), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(log, tail)
			log.Close()

			held, err := s.StagedParts(t.Context(), st)
			if err != nil || len(held) < 1 || held[0] != parts[0] {
				t.Errorf("staged parts: %v, %v", held, err)
			}
			if len(held) < 2 {
				if _, err := s.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); !errors.Is(err, backend.ErrChecksum) {
					t.Errorf("publish without part 2: %v", err)
				}
			}
			two := backend.Content{R: strings.NewReader("two"), Size: 3, CRC32C: crc32c.Checksum([]byte("two"))}
			if _, err := s.PutPart(t.Context(), st, 2, two); err != nil {
				t.Fatal(err)
			}
			if _, err := s.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); err != nil {
				t.Errorf("publish: %v", err)
			}
		})
	}
}

func TestABadPartForgetsTheGoodOneThatItOverwrote(t *testing.T) {
	s := openDirStore(t, t.TempDir())
	st, parts, crc := staged(t, s)
	if _, err := s.PutPart(t.Context(), st, 1, backend.Content{R: strings.NewReader("bad"), Size: 3}); !errors.Is(err, backend.ErrChecksum) {
		t.Fatalf("put part: %v", err)
	}
	if _, err := s.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); !errors.Is(err, backend.ErrChecksum) {
		t.Errorf("publish: %v", err)
	}
}

func TestAStageIDFromAJournalIsNoPath(t *testing.T) {
	dir := t.TempDir()
	s := openDirStore(t, dir)
	staged(t, s)
	if err := os.WriteFile(filepath.Join(dir, "x.data"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "../../../x", "/x", "x", strings.Repeat("A", 32)} {
		st := backend.Stage{Key: "a", ID: id, Size: 1, PartSize: 1}
		if _, err := s.StagedParts(t.Context(), st); !errors.Is(err, backend.ErrNoStage) {
			t.Errorf("%q: %v", id, err)
		}
		if err := s.AbortStage(t.Context(), st); err != nil {
			t.Errorf("abort %q: %v", id, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x.data")); err != nil {
		t.Error(err)
	}
}

func TestSweepTakesOldTemporariesOnly(t *testing.T) {
	dir := t.TempDir()
	s := openDirStore(t, dir)
	st, _, _ := staged(t, s)
	temporary := inStaging(dir, newID()+tempSuffix)
	if err := os.WriteFile(temporary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.sweep(t.Context(), staleAfter)
	if _, err := os.Stat(temporary); err != nil {
		t.Errorf("a Put under way lost its file: %v", err)
	}
	s.sweep(t.Context(), -1)
	if _, err := os.Stat(temporary); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a dead Put stays: %v", err)
	}
	if held, err := s.StagedParts(t.Context(), st); err != nil || len(held) != 2 {
		t.Errorf("a stage was swept: %v, %v", held, err)
	}
}

func TestErrnoKinds(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.EACCES: backend.ErrDenied, unix.EPERM: backend.ErrDenied, unix.EROFS: backend.ErrDenied,
		unix.ENAMETOOLONG: backend.ErrInvalidKey, unix.ENOTDIR: backend.ErrInvalidKey,
		unix.EISDIR: backend.ErrInvalidKey, unix.ELOOP: backend.ErrInvalidKey,
		unix.EFBIG: backend.ErrTooLarge,
	} {
		if err := fail("put", "a", os.NewSyscallError("x", errno)); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
	for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.ESTALE, unix.EINTR, unix.ETIMEDOUT} {
		if err := fail("put", "a", os.NewSyscallError("x", errno)); backend.Permanent(err) {
			t.Errorf("%v: %v does not heal", errno, err)
		}
	}
}

func FuzzParseSidecar(f *testing.F) {
	f.Add([]byte("\n{\"version\":1,\"stage\":{\"key\":\"a\",\"id\":\"x\",\"size\":6,\"part_size\":3}}\n\n{\"n\":1}\n\n{\"n\":1,\"size\":3,\"etag\":\"x\",\"crc32c\":7}\n"))
	f.Add([]byte("{\"version\":2}\n"))
	f.Add([]byte("{\"n\":1,\"etag\":\"x\"}\n{\"version\":1}\nhalf a line {"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, parts, err := parseSidecar(bytes.NewReader(data))
		for i, p := range parts {
			if err != nil || p.Number < 1 || p.ETag == "" || i > 0 && p.Number <= parts[i-1].Number {
				t.Errorf("parts %+v, %v", parts, err)
			}
		}
	})
}
