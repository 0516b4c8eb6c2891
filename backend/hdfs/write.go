package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// Of what is made without being told a mode; the cluster's umask does not come by here.
const (
	dirPerm  = 0o755
	filePerm = 0o644
)

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if err := check(ctx, backend.OpPut, key); err != nil {
		return backend.Object{}, err
	}
	attr, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	obj, err := call(ctx, s, func(client *hdfs.Client) (backend.Object, error) {
		if attr.Type == backend.Directory {
			return s.putMarker(ctx, client, key, attr, o.IfAbsent)
		}
		return s.putFile(ctx, client, key, attr, o.IfAbsent, c.Reader(), &c.CRC32C)
	})
	return obj, fail(backend.OpPut, key, err)
}

// putFile makes a file of what r gives and puts it in place once it is whole. crc is what
// it has to have; nil if nobody knows.
func (s *Store) putFile(ctx context.Context, c *hdfs.Client, key string, attr backend.Attr, ifAbsent bool, r io.Reader, crc *uint32) (backend.Object, error) {
	temp := s.temp()
	if err := s.fill(ctx, c, temp, attr, r, crc); err != nil {
		return backend.Object{}, err
	}
	if err := s.place(c, temp, key, ifAbsent); err != nil {
		return backend.Object{}, errors.Join(err, ignoreMissing(c.Remove(temp)))
	}
	return s.describe(c, key)
}

// temp is a name in the staging directory that nobody has.
func (s *Store) temp() string { return path.Join(s.path(stagingDir), newID()+tempSuffix) }

// fill writes a new file with its note, and removes it if it fails.
func (s *Store) fill(ctx context.Context, c *hdfs.Client, to string, attr backend.Attr, r io.Reader, crc *uint32) error {
	err := s.write(ctx, c, to, attr, r, crc)
	if err == nil {
		err = writeNote(c, to, attr, crc)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(c.Remove(to)))
	}
	return nil
}

func (s *Store) write(ctx context.Context, c *hdfs.Client, to string, attr backend.Attr, r io.Reader, crc *uint32) (err error) {
	f, err := s.create(c, to, attr)
	if err != nil {
		return err
	}
	sum := crc32c.New()
	_, err = io.CopyBuffer(io.MultiWriter(writer{f}, sum), contextReader{ctx, r}, make([]byte, 1<<20))
	if err == nil && crc != nil && sum.Sum32() != *crc {
		err = fmt.Errorf("%w: the bytes have %08x, not %08x", backend.ErrChecksum, sum.Sum32(), *crc)
	}
	if err != nil {
		// It will not be whole: closing it only lets go of the data node. After this the name
		// node would wait for a block that nobody has.
		f.Close()
		return err
	}
	return s.finish(ctx, f)
}

// writer says of what the client cannot write what that was.
type writer struct{ *hdfs.FileWriter }

func (w writer) Write(b []byte) (int, error) {
	n, err := w.FileWriter.Write(b)
	return n, unwritten(err)
}

// unwritten speaks of data nodes where err does not, and is not the name node's either. Of
// one that others pass blocks on to the client only learns that it has failed.
func unwritten(err error) error {
	var node *nodeError
	var path *os.PathError // of a call to the name node
	if err == nil || errors.As(err, &node) || errors.As(err, &path) || exceptionOf(err) != "" {
		return err
	}
	return fmt.Errorf("cannot write a block to its data nodes: %w", err)
}

// create makes a file, and the directory that it is in.
func (s *Store) create(c *hdfs.Client, to string, attr backend.Attr) (*hdfs.FileWriter, error) {
	defaults, err := c.ServerDefaults()
	if err != nil {
		return nil, err
	}
	replication, block, perm := s.where.replication, s.where.blockSize, os.FileMode(filePerm)
	if replication == 0 {
		replication = defaults.Replication
	}
	if block == 0 {
		block = defaults.BlockSize
	}
	if attr.Mode != 0 && attr.Type == backend.Regular {
		perm = os.FileMode(attr.Mode&0o777 | 0o600) // this user has to read it again
	}
	f, err := c.CreateFile(to, replication, block, perm)
	if missing(err) {
		if err = c.MkdirAll(directoryOf(to), dirPerm); err == nil {
			f, err = c.CreateFile(to, replication, block, perm)
		}
	}
	return f, err
}

// finish closes a file, which the name node takes for whole only when enough data nodes have
// told it of the last block. It does not wait for ever for one that was lost before it could.
func (s *Store) finish(ctx context.Context, f *hdfs.FileWriter) error {
	began := time.Now()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := f.Close()
		if !hdfs.IsErrReplicating(err) {
			return unwritten(err)
		}
		if time.Since(began) > s.patience {
			return fmt.Errorf("no data node has told the name node of the last block within %s: lost, or cut off", s.patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// contextReader ends a copy with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// place renames a file that is whole to a key.
func (s *Store) place(c *hdfs.Client, from, key string, ifAbsent bool) error {
	return s.inParent(c, key, func(to string) error {
		if ifAbsent {
			return s.locked(c, from, key, func() error {
				if _, err := c.Stat(to); err == nil {
					return backend.ErrExist
				} else if !missing(err) {
					return err
				}
				return c.Rename(from, to)
			})
		}
		err := c.Rename(from, to)
		if err == nil || missing(err) {
			return err
		}
		if info, serr := c.Stat(to); serr == nil && info.IsDir() {
			return fmt.Errorf("%w: a directory has this name", backend.ErrInvalidKey)
		}
		return err
	})
}

// inParent calls f with the path of key, whose directory is there. A concurrent Delete may
// take an empty one away again: then f has another go.
func (s *Store) inParent(c *hdfs.Client, key string, f func(to string) error) error {
	var err error
	for range 100 {
		if err = s.makeDir(c, parent(key)); err == nil {
			err = f(s.path(key))
		}
		if !missing(err) {
			break
		}
	}
	if kind := exceptions[exceptionOf(err)]; kind != nil {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// makeDir makes the directory of a key, and those above it, where they are missing. They
// are implied.
func (s *Store) makeDir(c *hdfs.Client, key string) error {
	dir := s.path(key)
	info, err := c.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: a file has the name of a directory: %s", backend.ErrInvalidKey, dir)
	case err == nil:
		return nil
	case !missing(err):
		return err
	case key == "":
		return c.MkdirAll(dir, dirPerm)
	}
	if err := s.makeDir(c, parent(key)); err != nil {
		return err
	}
	if err := c.Mkdir(dir, dirPerm); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	return c.SetXAttr(dir, impliedAttr, "1")
}

func (s *Store) putMarker(ctx context.Context, c *hdfs.Client, key string, attr backend.Attr, ifAbsent bool) (backend.Object, error) {
	err := s.inParent(c, key, func(dir string) error {
		make := func() error {
			err := c.Mkdir(dir, dirPerm)
			switch {
			case errors.Is(err, os.ErrExist):
				info, err := c.Stat(dir)
				if err != nil {
					return err
				}
				if !info.IsDir() {
					return fmt.Errorf("%w: a file has the name of the directory", backend.ErrInvalidKey)
				}
				is, err := implied(c, dir)
				if err != nil {
					return err
				}
				if ifAbsent && !is {
					return backend.ErrExist
				}
				if is {
					err = c.RemoveXAttr(dir, impliedAttr)
				}
				if err != nil {
					return err
				}
			case err != nil:
				return err
			}
			if attr.Mode != 0 {
				if err := c.Chmod(dir, os.FileMode(attr.Mode&0o777|0o700)); err != nil {
					return err
				}
			}
			return writeNote(c, dir, attr, nil)
		}
		if !ifAbsent {
			return make()
		}
		return s.locked(c, "", key, make)
	})
	if err != nil {
		return backend.Object{}, err
	}
	return s.describe(c, key)
}

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	for _, key := range []string{src, dst} {
		if err := check(ctx, backend.OpCopy, key); err != nil {
			return backend.Object{}, err
		}
	}
	obj, err := call(ctx, s, func(c *hdfs.Client) (backend.Object, error) { return s.copy(ctx, c, src, dst, o) })
	return obj, fail(backend.OpCopy, dst, err)
}

// copy reads and writes the content: HDFS has no copy of its own.
func (s *Store) copy(ctx context.Context, c *hdfs.Client, src, dst string, o backend.PutOptions) (backend.Object, error) {
	from, err := s.describe(c, src)
	if err != nil {
		return backend.Object{}, err
	}
	if o.SourceETag != "" && o.SourceETag != from.ETag {
		return backend.Object{}, backend.ErrChanged
	}
	attr := o.Attr
	if attr.IsZero() {
		attr = from.Attr
	}
	attr.Type = from.Attr.Type
	if attr, err = backend.CheckPut(backend.OpCopy, dst, from.Size, attr); err != nil {
		return backend.Object{}, err
	}
	if attr.Type == backend.Directory {
		return s.putMarker(ctx, c, dst, attr, o.IfAbsent)
	}
	f, err := c.Open(s.path(src))
	if err != nil {
		return backend.Object{}, err
	}
	defer f.Close()
	if listed(src, f.Stat()).ETag != from.ETag {
		return backend.Object{}, backend.ErrChanged
	}
	var crc *uint32
	if from.HasCRC32C {
		crc = &from.CRC32C
	}
	return s.putFile(ctx, c, dst, attr, o.IfAbsent, f, crc)
}

func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}
