package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// finish makes a file ready for its place: attributes and checksum set, and durable.
func (s *Store) finish(t *temp, attr backend.Attr, crc uint32, known bool) error {
	if err := s.setAttr(t.dir, t.name, attr); err != nil {
		return err
	}
	if attr.Mode != 0 { // after the owner, whose change clears set-user-id
		if err := unix.Fchmod(int(t.file.Fd()), attr.Mode); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	if known {
		var st unix.Stat_t
		if err := unix.Fstat(int(t.file.Fd()), &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		// Where it cannot be kept, it is not known.
		unix.Fsetxattr(int(t.file.Fd()), crcAttr, []byte(crcValue(crc, st.Size, st.Mtim.Nano())), 0)
	}
	return t.file.Sync()
}

// setAttr sets the owner, where this process may, and the mtime of name in dir.
func (s *Store) setAttr(dir *os.File, name string, attr backend.Attr) error {
	fd := int(dir.Fd())
	known := attr
	known.Type = backend.Regular // a marker's Attr always has its type, and that alone says nothing
	if s.chown && !known.IsZero() {
		// EPERM: root on this machine is not root on the file server.
		err := unix.Fchownat(fd, name, int(attr.UID), int(attr.GID), unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EPERM) {
			return os.NewSyscallError("fchownat", err)
		}
	}
	if attr.Mtime.IsZero() {
		return nil
	}
	times := []unix.Timespec{
		{Nsec: unix.UTIME_OMIT},
		{Sec: attr.Mtime.Unix(), Nsec: int64(attr.Mtime.Nanosecond())},
	}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

// place gives a temporary file its key, in one step.
func (s *Store) place(t *temp, key string, ifAbsent bool) error {
	return s.inParent(key, func(dir *os.File, base string) error {
		from, to := int(t.dir.Fd()), int(dir.Fd())
		if !ifAbsent {
			return os.NewSyscallError("renameat", unix.Renameat(from, t.name, to, base))
		}
		// NFS knows no rename that spares its target, but link does.
		err := unix.Linkat(from, t.name, to, base, 0)
		if errors.Is(err, unix.EEXIST) {
			var st unix.Stat_t
			if unix.Fstatat(to, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return unix.EISDIR // there is no object of this key
			}
			return backend.ErrExist
		}
		if err != nil {
			return os.NewSyscallError("linkat", err)
		}
		return os.NewSyscallError("unlinkat", unix.Unlinkat(from, t.name, 0))
	})
}
