package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// end takes the download off the list; what is on the disk of one that is not complete
// stays for the next, which begins only when it has been put away.
func (d *fetch) end(err error) {
	if replaced(err) && d.isTakenAway() {
		err = errTakenAway
	}
	d.mu.Lock()
	d.mu.ended, d.mu.err = true, err
	noSpace := d.mu.noSpace
	unused := d.mu.refs == 0
	d.mu.Unlock()
	d.putAway(err, noSpace)
	f := d.c.fetches
	f.mu.Lock()
	if f.byPath[d.path] == d {
		delete(f.byPath, d.path)
	}
	f.mu.Unlock()
	d.mu.Lock()
	d.progress()
	d.mu.Unlock()
	close(d.done)
	d.cancel()
	if unused {
		d.file.Close()
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errTakenAway) {
		d.c.log.Error("cannot fetch", "path", d.path, "err", err)
	}
}

// putAway decides what becomes of the blocks of a download that has ended. What a store that
// is out of reach, or a reader that has gone, broke off is gone on with from there. What
// is not to be used makes place for another file, with another identity (see giveUp, too):
// programs may still have this one open, and one inode cannot be two files.
func (d *fetch) putAway(err error, noSpace bool) {
	switch {
	case err == nil:
	case noSpace || replaced(err) || errors.Is(err, ErrCorrupt):
		d.discard()
		if errors.Is(err, ErrCorrupt) {
			d.c.idents.renew(d.path)
		}
	default:
		d.save()
	}
}

// finish checks a complete download and moves it in. What is not what it should be is
// fetched once more from scratch.
func (d *fetch) finish() (done bool, err error) {
	d.mu.Lock()
	e, sums := d.mu.entry, d.mu.sums
	d.mu.Unlock()
	crc := uint32(0)
	for b, sum := range sums {
		crc = crc32c.Combine(crc, sum, min(fetchBlock, d.size-int64(b)*fetchBlock))
	}
	err = d.check(e, crc)
	switch {
	case err == nil:
	case d.ctx.Err() != nil:
		return true, context.Canceled
	case errors.Is(err, errOffline): // all is here, and is checked once the store can be asked
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed(err)
		return d.mu.err != nil, d.mu.err
	case !errors.Is(err, ErrCorrupt):
		return true, err
	default:
		d.c.log.Error("fetched content is wrong", "path", d.path, "key", d.key, "err", err)
		if d.mu.scratch > 0 {
			return true, err
		}
		return false, d.again()
	}
	a := e.attr()
	if a.Type == backend.Symlink {
		return true, d.moveInLink(a, e, crc)
	}
	return true, d.moveIn(a, e.etag, crc)
}

// check compares with the manifest's checksum, else the store's, if it has one. ErrCorrupt, and
// what the store says when it is asked and does not tell.
func (d *fetch) check(e remoteEntry, crc uint32) error {
	want, known := e.sum()
	if !known && !e.asked() {
		var obj backend.Object
		err := d.c.names.ask(d.ctx, func(ctx context.Context) (err error) {
			obj, err = d.c.cfg.Store.Head(ctx, d.key)
			return err
		})
		switch {
		case errors.Is(err, backend.ErrNotExist): // deleted since
		case err != nil:
			return err
		case obj.ETag == e.etag:
			want, known = obj.CRC32C, obj.HasCRC32C
		}
	}
	if known && crc != want {
		return fmt.Errorf("%s: crc32c %08x expected, got %08x: %w", d.path, want, crc, ErrCorrupt)
	}
	return nil
}

// again begins from scratch, with what the store says now.
func (d *fetch) again() error {
	e, err := d.c.names.findAnew(d.ctx, d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && e.size != d.size {
		err = fmt.Errorf("%s: %w", d.path, backend.ErrChanged)
	}
	if err != nil {
		d.mu.err = err
		return err
	}
	d.mu.entry = e
	d.mu.scratch++
	d.mu.left = len(d.mu.blocks)
	for b := range d.mu.blocks {
		d.mu.blocks[b] = blockTodo
	}
	return nil
}
