package cache

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// Errors of Open. Each says, in its text, what to do.
var (
	ErrLocked  = errors.New("another trainfs is using this cache directory")
	ErrForeign = errors.New("the cache directory belongs to another storage path")
	ErrOwner   = errors.New("the cache directory is not ours alone")
	ErrFormat  = errors.New("the cache directory was written by a newer trainfs")
)

const formatVersion = 1

// nodeFile is node.json.
type nodeFile struct {
	Format int    `json:"format"`
	Node   string `json:"node"`   // id of this cache directory, for its whole life
	Source string `json:"source"` // storage path
	Life   uint64 `json:"life"`   // starts so far; the journal says the same
	Tree   uint64 `json:"tree"`   // inode of tree/ at the last start: a copy has another
}

// claimDir makes the cache directory if need be, checks that it is ours and fit,
// and locks it.
func claimDir(dir, source string) (*nodeFile, *flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make cache directory: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, nil, err
	}
	if !st.IsDir() {
		return nil, nil, fmt.Errorf("cache directory %s: %w", dir, unix.ENOTDIR)
	}
	var u unix.Stat_t
	if err := unix.Stat(dir, &u); err != nil {
		return nil, nil, err
	}
	if int(u.Uid) != os.Geteuid() {
		return nil, nil, fmt.Errorf("%w: %s is owned by uid %d, this is uid %d; choose another cache_dir", ErrOwner, dir, u.Uid, os.Geteuid())
	}
	if u.Mode&0o077 != 0 {
		if _, err := os.Stat(filepath.Join(dir, "node.json")); err == nil {
			return nil, nil, fmt.Errorf("%w: %s has mode %04o; run: chmod 700 %s", ErrOwner, dir, u.Mode&0o7777, dir)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			return nil, nil, fmt.Errorf("%w: %s is open to others (mode %04o) and not empty; choose a directory of its own", ErrOwner, dir, u.Mode&0o7777)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, nil, err
		}
	}
	if err := checkForeign(dir); err != nil {
		return nil, nil, err
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, nil, fmt.Errorf("lock cache directory %s: %w", dir, err)
	}
	if !ok {
		return nil, nil, fmt.Errorf("%w: %s; unmount that one first, or choose another cache_dir", ErrLocked, dir)
	}
	node, err := loadNode(dir, source)
	if err != nil {
		lock.Close()
		return nil, nil, err
	}
	return node, lock, nil
}

// Belongs tells whether dir is a cache directory that has been used with a storage path.
func Belongs(dir, source string) bool {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err != nil {
		return false
	}
	n, err := loadNode(dir, source)
	return err == nil && n.Source == source
}

// SourceOf is the storage path, in its canonical form, that a cache directory belongs to.
func SourceOf(dir string) (string, error) {
	path := filepath.Join(dir, "node.json")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is no cache directory of trainfs: %w", dir, err)
	}
	n, err := readNode(dir)
	if err != nil {
		return "", err
	}
	return n.Source, nil
}

func loadNode(dir, source string) (*nodeFile, error) {
	path := filepath.Join(dir, "node.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newNode(dir, path, source)
	}
	if err != nil {
		return nil, err
	}
	n, err := decodeNode(dir, b)
	if err != nil {
		return nil, err
	}
	if n.Source != source {
		return nil, fmt.Errorf("%w: %s is for %s, not %s; choose another cache_dir", ErrForeign, dir, n.Source, source)
	}
	return n, nil
}

func readNode(dir string) (*nodeFile, error) {
	b, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err != nil {
		return nil, err
	}
	return decodeNode(dir, b)
}

func decodeNode(dir string, b []byte) (*nodeFile, error) {
	path := filepath.Join(dir, "node.json")
	var n nodeFile
	if err := json.Unmarshal(b, &n); err != nil || n.Node == "" || strings.ContainsAny(n.Node, "/\x00") {
		return nil, fmt.Errorf("%s is damaged (%v): move it away to start with a new node id; no data is lost by that", path, err)
	}
	if n.Format > formatVersion {
		return nil, fmt.Errorf("%w: %s has format %d, this trainfs knows %d; use that trainfs, or another cache_dir. Nothing was changed", ErrFormat, dir, n.Format, formatVersion)
	}
	return &n, nil
}

// checkForeign refuses a directory that holds what is not trainfs's.
func checkForeign(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err == nil {
		return nil
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		switch e.Name() {
		case "lock", "trainfs.log", "control.sock", "mount.json", "journal.reserve", "journal.probe": // ours, from before node.json
		case "tree", "journal", "lost+found", "fetch", "opens":
			// node.json alone was lost: everything else tells what it needs to.
		default:
			return fmt.Errorf("%w: %s holds %q, which is not trainfs's; choose an empty directory", ErrForeign, dir, e.Name())
		}
	}
	return nil
}

func newNode(dir, path, source string) (*nodeFile, error) {
	id := make([]byte, 8)
	rand.Read(id)
	n := &nodeFile{Format: formatVersion, Node: hex.EncodeToString(id), Source: source}
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return nil, err
	}
	return n, writeFileDurably(path, append(b, '\n'))
}

// lives notes a start.
func (n *nodeFile) lives(dir string, life uint64) error {
	n.Life = life
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return writeFileDurably(filepath.Join(dir, "node.json"), append(b, '\n'))
}

// writeFileDurably replaces path whole.
func writeFileDurably(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncPath(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bootID differs after every start of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
