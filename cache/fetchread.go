package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// readPast makes a download one that leaves nothing on the disk. Callers hold mu, or are
// the only ones to know it.
func (d *fetch) readPast() {
	if !d.mu.noSpace {
		d.c.log.Warn("no room in the cache for a file: it is read from the store each time", "path", d.path, "bytes", d.size)
	}
	d.mu.noSpace = true
	d.mu.window = map[int][]byte{}
}

// readAt reads a range when it is here.
func (d *fetch) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	inFile, err := d.wait(ctx, off, len(p))
	switch {
	case err != nil:
		return 0, err
	case inFile:
		return readFull(d.file, p, off)
	}
	return d.readWindow(ctx, p, off)
}

// wait waits until a range is here, and tells whether it is in the file; if not, the file
// has no place in the cache.
func (d *fetch) wait(ctx context.Context, off int64, n int) (inFile bool, err error) {
	if off >= d.size || n == 0 {
		return true, nil
	}
	first, last := int(off/fetchBlock), int((min(off+int64(n), d.size)-1)/fetchBlock)
	var impatient <-chan time.Time
	cut := false
	for {
		d.mu.Lock()
		missing, noSpace, err, changed := d.missing(first, last), d.mu.noSpace, d.mu.err, d.mu.changed
		unchecked := d.mu.left == 0 && !d.mu.ended && err == nil // the end is not told before it is known to be right
		if len(missing) > 0 && err == nil && !noSpace {
			if cut {
				d.cut(missing[0])
			}
			d.hurry(missing)
			if impatient == nil {
				t := time.NewTimer(patience)
				defer t.Stop()
				impatient = t.C
			}
		}
		d.mu.Unlock()
		switch {
		case unchecked:
		case err != nil && (len(missing) > 0 || errors.Is(err, ErrCorrupt)):
			return false, err
		case len(missing) == 0:
			return true, nil
		case noSpace:
			return false, nil
		}
		select {
		case <-changed:
		case <-impatient:
			cut = true
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// missing lists the blocks of a range that are not here. Callers hold mu.
func (d *fetch) missing(first, last int) []int {
	var out []int
	for b := first; b <= last; b++ {
		if d.mu.blocks[b] != blockDone {
			out = append(out, b)
		}
	}
	return out
}

func readFull(f *os.File, p []byte, off int64) (int, error) {
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readWindow reads past the disk: there is no place for the file in the cache. Only the
// last blocks are kept, in memory.
func (d *fetch) readWindow(ctx context.Context, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < d.size {
		b := int(off / fetchBlock)
		data, err := d.windowBlock(ctx, b)
		if err != nil {
			return n, err
		}
		m := copy(p[n:], data[off-int64(b)*fetchBlock:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

func (d *fetch) windowBlock(ctx context.Context, b int) ([]byte, error) {
	d.mu.Lock()
	data, etag := d.mu.window[b], d.mu.entry.etag
	d.mu.Unlock()
	if data != nil {
		return data, nil
	}
	at := int64(b) * fetchBlock
	data = make([]byte, min(fetchBlock, d.size-at))
	err := d.c.names.ask(ctx, func(ctx context.Context) error {
		body, _, err := d.c.cfg.Store.Get(ctx, d.key, backend.GetOptions{Offset: at, Length: int64(len(data)), ETag: etag})
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.ReadFull(body, data)
		return err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if replaced(err) && d.mu.err == nil {
			d.giveUp(err)
			d.progress()
		}
		return nil, err
	}
	for old := range d.mu.window {
		if len(d.mu.window) < windowMem {
			break
		}
		delete(d.mu.window, old)
	}
	d.mu.window[b] = data
	return data, nil
}
