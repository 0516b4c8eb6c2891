package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// stagingDir holds what no key names yet, in files called by a random id:
//
//	<id>.data   a stage's bytes
//	<id>.parts  what is known of them (see sidecar.go)
//	<id>.tmp    a Put or Copy under way
const (
	stagingDir  = ".trainfs/v1/staging"
	dataSuffix  = ".data"
	partsSuffix = ".parts"
	tempSuffix  = ".tmp"
)

// staleAfter is how long nobody writes to the temporary file of a dead Put.
const staleAfter = 24 * time.Hour

func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// validID keeps what comes out of a journal from being a path.
func validID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 16 && id == strings.ToLower(id)
}

// temp is a file in the staging directory.
type temp struct {
	dir  *os.File
	name string
	file *os.File
}

// newTemp makes an empty file. One that gets no mode of its own is shared as the root is.
func (s *Store) newTemp(name string, attr backend.Attr) (*temp, error) {
	mode := s.fileMode
	if attr.Mode != 0 {
		mode = 0o600 // finish sets the real one; until then nobody else may look
	}
	return s.make(name, func(dir *os.File) (*os.File, error) {
		f, err := openAt(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode)
		if err == nil && attr.Mode == 0 {
			s.share(f)
		}
		return f, err
	})
}

func (s *Store) newTempLink(target string) (*temp, error) {
	name := newID() + tempSuffix
	return s.make(name, func(dir *os.File) (*os.File, error) {
		if err := unix.Symlinkat(target, int(dir.Fd()), name); err != nil {
			return nil, os.NewSyscallError("symlinkat", err)
		}
		return openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	})
}

func (s *Store) make(name string, create func(dir *os.File) (*os.File, error)) (*temp, error) {
	dir, err := s.makeDir(stagingDir)
	if err != nil {
		return nil, err
	}
	file, err := create(dir)
	if err != nil {
		dir.Close()
		return nil, err
	}
	return &temp{dir: dir, name: name, file: file}, nil
}

// discard closes t, and removes it if it has not found its place.
func (t *temp) discard() {
	unix.Unlinkat(int(t.dir.Fd()), t.name, 0)
	t.close()
}

func (t *temp) close() {
	t.file.Close()
	t.dir.Close()
}

// sweep removes the temporary files of dead Puts. Nobody depends on it, so it tells no
// errors. Unfinished stages are not its business: AbortStage removes them.
func (s *Store) sweep(ctx context.Context, olderThan time.Duration) {
	dir, err := s.openDir(stagingDir)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		if ctx.Err() != nil || !strings.HasSuffix(name, tempSuffix) ||
			unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		// A symlink's mtime is its object's, and it never waits here.
		if time.Since(time.Unix(st.Ctim.Unix())) > olderThan {
			unix.Unlinkat(int(dir.Fd()), name, 0)
		}
	}
}
