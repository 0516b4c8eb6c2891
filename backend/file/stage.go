package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, attr backend.Attr) (backend.Stage, error) {
	if err := check(ctx, backend.OpBeginStage, key); err != nil {
		return backend.Stage{}, err
	}
	attr, err := backend.CheckPut(backend.OpBeginStage, key, size, attr)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, ID: newID(), Size: size, PartSize: partSize, Attr: attr, Started: time.Now()}
	if err := s.Capabilities().CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	dir, err := s.makeDir(stagingDir)
	if err != nil {
		return backend.Stage{}, fail(backend.OpBeginStage, key, err)
	}
	defer dir.Close()
	// The sidecar is whole as soon as it is there, and before the data: a crash at any point
	// leaves what ListStages lists, or a temporary file that the sweep finds.
	if err := writeHeader(dir, st); err != nil {
		return backend.Stage{}, fail(backend.OpBeginStage, key, err)
	}
	t, err := s.newTemp(st.ID+dataSuffix, attr)
	if err != nil {
		unix.Unlinkat(int(dir.Fd()), st.ID+partsSuffix, 0)
		return backend.Stage{}, fail(backend.OpBeginStage, key, err)
	}
	defer t.close()
	return st, fail(backend.OpBeginStage, key, syncDir(t.dir))
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	p := backend.Part{Number: n, Size: c.Size, CRC32C: c.CRC32C, ETag: fmt.Sprintf("%08x", c.CRC32C)}
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	t, err := s.openStage(ctx, st)
	if err != nil {
		return backend.Part{}, fail(backend.OpPutPart, st.Key, err)
	}
	defer t.close()
	if err := writePart(ctx, t, st, p, c); err != nil {
		return backend.Part{}, fail(backend.OpPutPart, st.Key, err)
	}
	return p, nil
}

// writePart forgets the part, writes it, makes it durable, and only then says that it is
// there: PublishStage goes by what is said, and does not read the bytes again.
func writePart(ctx context.Context, t *temp, st backend.Stage, p backend.Part, c backend.Content) error {
	log, err := openSidecar(t.dir, st.ID)
	if missing(err) {
		return backend.ErrNoStage
	}
	if err != nil {
		return err
	}
	defer log.Close()
	if err := appendLine(log, map[string]int{"n": p.Number}); err != nil {
		return err
	}
	off, _ := st.Range(p.Number)
	if err := write(ctx, t.file, off, c); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(t.file.Fd())); err != nil {
		return os.NewSyscallError("fdatasync", err)
	}
	if err := appendLine(log, p); err != nil {
		return err
	}
	return log.Sync()
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	t, err := s.openStage(ctx, st)
	if err != nil {
		return nil, fail(backend.OpStagedParts, st.Key, err)
	}
	defer t.close()
	parts, err := heldParts(t, st)
	return parts, fail(backend.OpStagedParts, st.Key, err)
}

func heldParts(t *temp, st backend.Stage) ([]backend.Part, error) {
	_, parts, err := readSidecar(t.dir, st.ID)
	if missing(err) {
		return nil, backend.ErrNoStage
	}
	return parts, err
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpAbortStage, Key: st.Key, Err: err}
	}
	if !validID(st.ID) {
		return nil
	}
	dir, err := s.openDir(stagingDir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fail(backend.OpAbortStage, st.Key, err)
	}
	defer dir.Close()
	for _, suffix := range []string{dataSuffix, partsSuffix} { // listed until all is gone
		if err := unix.Unlinkat(int(dir.Fd()), st.ID+suffix, 0); err != nil && !missing(err) {
			return fail(backend.OpAbortStage, st.Key, os.NewSyscallError("unlinkat", err))
		}
	}
	return nil
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: backend.OpListStages, Key: prefix, Err: err}
	}
	dir, err := s.openDir(stagingDir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(backend.OpListStages, prefix, err)
	}
	defer dir.Close()
	names, err := readNames(dir)
	if err != nil {
		return nil, fail(backend.OpListStages, prefix, err)
	}
	var stages []backend.Stage
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, &backend.Error{Op: backend.OpListStages, Key: prefix, Err: err}
		}
		id, ok := strings.CutSuffix(name, partsSuffix)
		if !ok || !validID(id) {
			continue
		}
		// One that cannot be read is another version's or nobody's; neither is ours to report.
		st, _, err := readSidecar(dir, id)
		if err == nil && st.ID == id && strings.HasPrefix(st.Key, prefix) {
			stages = append(stages, st)
		}
	}
	return stages, nil
}

// openStage opens a stage's data.
func (s *Store) openStage(ctx context.Context, st backend.Stage) (*temp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !validID(st.ID) {
		return nil, backend.ErrNoStage
	}
	dir, err := s.openDir(stagingDir)
	if missing(err) {
		return nil, backend.ErrNoStage
	}
	if err != nil {
		return nil, err
	}
	t := &temp{dir: dir, name: st.ID + dataSuffix}
	t.file, err = openAt(dir, t.name, unix.O_RDWR, 0)
	if errors.Is(err, unix.EACCES) {
		// A publish that came no further has already given it its mode, say 0444.
		unix.Fchmodat(int(dir.Fd()), t.name, 0o600, 0)
		t.file, err = openAt(dir, t.name, unix.O_RDWR, 0)
	}
	if err != nil {
		dir.Close()
		if missing(err) {
			err = backend.ErrNoStage
		}
		return nil, err
	}
	if t.published() {
		t.discard()
		return nil, backend.ErrNoStage
	}
	return t, nil
}

// published tells that a crash came between the two steps of a conditional publish: the
// file has its key, and its name here as well. Writing to it would change the object.
func (t *temp) published() bool {
	var st unix.Stat_t
	return unix.Fstat(int(t.file.Fd()), &st) == nil && st.Nlink > 1
}

func (t *temp) gone() bool {
	var st unix.Stat_t
	return missing(unix.Fstatat(int(t.dir.Fd()), t.name, &st, unix.AT_SYMLINK_NOFOLLOW))
}
