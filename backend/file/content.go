package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func readTarget(c backend.Content) (string, error) {
	p := make([]byte, c.Size)
	if _, err := io.ReadFull(c.Reader(), p); err != nil {
		return "", err
	}
	return string(p), nil
}

const chunkBytes = 1 << 20

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// write copies c into f at off, and checks it on the way.
func write(ctx context.Context, f *os.File, off int64, c backend.Content) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	crc := uint32(0)
	for done := int64(0); done < c.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := (*buf)[:min(chunkBytes, c.Size-done)]
		if n, err := c.R.ReadAt(p, c.Offset+done); n < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content: %w", err)
		}
		if _, err := f.WriteAt(p, off+done); err != nil {
			return err
		}
		crc = crc32c.Update(crc, p)
		done += int64(len(p))
	}
	if crc != c.CRC32C {
		return fmt.Errorf("%w: %08x, not %08x", backend.ErrChecksum, crc, c.CRC32C)
	}
	return nil
}

// errTorn says that the file was not the same from the beginning of a copy to its end.
var errTorn = errors.New("changed while it was copied")

// duplicate copies the file that body is open on. io.CopyN leaves it to the kernel, or to
// the file server, where they can.
func duplicate(ctx context.Context, to *os.File, body source, from backend.Object) error {
	src, ok := body.(*os.File)
	if !ok {
		return fmt.Errorf("%q is no regular file", from.Key)
	}
	const step = 256 << 20 // between two looks at ctx
	for left := from.Size; left > 0; left -= min(step, left) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(to, src, min(step, left)); err != nil {
			return err
		}
	}
	now, _, err := describe(src, from.Key)
	if err == nil && now.ETag != from.ETag {
		err = fmt.Errorf("%q: %w", from.Key, errTorn)
	}
	return err
}
