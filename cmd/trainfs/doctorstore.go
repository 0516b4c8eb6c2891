package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

const (
	doctorPrefix = ".trainfs/v1/doctor/"
	doctorHeads  = 9       // of which the median is the latency
	doctorBytes  = 8 << 20 // of a part whose upload is measured, if the store takes such parts
	maxSkew      = 30 * time.Second
)

// trial is a place in a store where things are tried.
type trial struct {
	d     *diagnosis
	store backend.Store
	dir   string
}

// tryStore tries what a mount does. What fails is told, and the rest tried all the same.
func (d *diagnosis) tryStore(ctx context.Context, store backend.Store, c *Config, quick bool) {
	t := &trial{d, store, doctorPrefix + rand.Text() + "/"}
	t.latency(ctx)
	if c.ReadOnly {
		return
	}
	defer t.tidy(context.WithoutCancel(ctx))
	if !t.readAndWrite(ctx) {
		return
	}
	t.clock(ctx)
	t.checksum(ctx)
	t.condition(ctx)
	t.stage(ctx, quick)
}

func contentOf(data []byte) backend.Content {
	return backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
}

// latency is that of the smallest question.
func (t *trial) latency(ctx context.Context) {
	var took []time.Duration
	for range doctorHeads {
		start := time.Now()
		if _, err := t.store.Head(ctx, t.dir+"missing"); !errors.Is(err, backend.ErrNotExist) {
			t.d.fail("ask for an object", fmt.Sprint(err), "it is asked for one that is not there: the right to read objects is needed")
			return
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	median := took[len(took)/2].Round(time.Microsecond)
	if median > 300*time.Millisecond {
		t.d.warn("latency", median.String()+" a request", "the store is far away: use a region near this machine")
		return
	}
	t.d.ok("latency", median.String()+" a request")
}

// readAndWrite tells whether the rest can be tried.
func (t *trial) readAndWrite(ctx context.Context) bool {
	data, attr := []byte("trainfs doctor"), backend.Attr{Mode: 0o640, Mtime: time.Unix(1_700_000_000, 123_456_789)}
	if _, err := t.store.Put(ctx, t.dir+"a", contentOf(data), backend.PutOptions{Attr: attr}); err != nil {
		t.d.fail("write", err.Error(), "the right to create objects is needed; to mount for reading only, -o ro")
		return false
	}
	obj, err := t.store.Head(ctx, t.dir+"a")
	if err == nil {
		if !obj.Attr.Mtime.Equal(attr.Mtime) || obj.Attr.Mode != attr.Mode {
			t.d.warn("attributes", "mode and time of a file do not come back", "restored files get default modes")
		}
		err = t.sameContent(ctx, t.dir+"a", data)
	}
	if err == nil {
		var page backend.Page
		if page, err = t.store.List(ctx, backend.ListOptions{Prefix: t.dir}); err == nil && len(page.Objects) != 1 {
			err = fmt.Errorf("a listing after the write has %d objects", len(page.Objects))
		}
	}
	if err != nil {
		t.d.fail("read back", err.Error(), "a write has to be seen by the next read and listing: is there a cache in between?")
		return false
	}
	t.d.ok("write, read, list", "")
	return true
}

func (t *trial) sameContent(ctx context.Context, key string, want []byte) error {
	body, _, err := t.store.Get(ctx, key, backend.GetOptions{})
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes come back that are not the %d written", len(got), len(want))
	}
	return err
}

// clock compares the store's with this machine's. Stores tell whole seconds.
func (t *trial) clock(ctx context.Context) {
	before := time.Now()
	_, err := t.store.Put(ctx, t.dir+"clock", contentOf(nil), backend.PutOptions{})
	after := time.Now()
	obj, herr := t.store.Head(ctx, t.dir+"clock")
	if err := errors.Join(err, herr); err != nil {
		t.d.fail("clock", err.Error(), "")
		return
	}
	skew := time.Duration(0)
	switch {
	case obj.Modified.After(after):
		skew = obj.Modified.Sub(after)
	case obj.Modified.Before(before.Add(-time.Second)):
		skew = obj.Modified.Sub(before)
	}
	if skew.Abs() > maxSkew {
		t.d.warn("clock", fmt.Sprintf("the store's is %s off", skew.Round(time.Second)),
			"set this machine's clock (NTP): requests are signed with it, and S3 refuses those that are 15 min off")
		return
	}
	t.d.ok("clock", "agrees with the store's")
}

func (t *trial) checksum(ctx context.Context) {
	c := contentOf([]byte("damaged"))
	c.CRC32C++
	_, err := t.store.Put(ctx, t.dir+"damaged", c, backend.PutOptions{})
	switch {
	case errors.Is(err, backend.ErrChecksum):
		t.d.ok("checksum", "damaged data is refused")
	case err == nil:
		t.d.fail("checksum", "damaged data is taken", "the server ignores CRC32C: what is damaged on the way is only found by a restore; use a server that checks it")
	default:
		t.d.fail("checksum", err.Error(), "")
	}
}

func (t *trial) condition(ctx context.Context) {
	_, err := t.store.Put(ctx, t.dir+"a", contentOf([]byte("second")), backend.PutOptions{IfAbsent: true})
	switch {
	case errors.Is(err, backend.ErrExist):
		t.d.ok("conditional write", "\"only if nothing is there\" is honoured")
	case err == nil:
		t.d.fail("conditional write", "\"only if nothing is there\" is ignored",
			"a node that has lost its journal may overwrite what it has not seen: use a server that honours If-None-Match")
	default:
		t.d.fail("conditional write", err.Error(), "")
	}
}

// stage uploads two parts, looks whether they are invisible, and publishes them.
func (t *trial) stage(ctx context.Context, quick bool) {
	caps := t.store.Capabilities()
	partBytes := max(caps.MinPartSize, 1)
	if !quick {
		partBytes = max(partBytes, doctorBytes)
	}
	data := make([]byte, 2*partBytes-partBytes/2)
	rand.Read(data)
	st, err := t.store.BeginStage(ctx, t.dir+"staged", int64(len(data)), partBytes, backend.Attr{Mode: 0o644})
	if err != nil {
		t.d.fail("upload in parts", err.Error(), "the right to multipart uploads (S3), or to write below .trainfs/ is needed")
		return
	}
	defer t.store.AbortStage(context.WithoutCancel(ctx), st)
	start := time.Now()
	parts, err := t.putParts(ctx, st, data)
	took := time.Since(start)
	if err == nil {
		if _, herr := t.store.Head(ctx, st.Key); !errors.Is(herr, backend.ErrNotExist) {
			err = fmt.Errorf("an upload shows before it is published: %v", herr)
		}
	}
	if err == nil {
		_, err = t.store.PublishStage(ctx, st, parts, crc32c.Checksum(data), backend.PutOptions{Attr: st.Attr})
	}
	read := time.Now()
	if err == nil {
		err = t.sameContent(ctx, st.Key, data)
	}
	if err != nil {
		t.d.fail("upload in parts", err.Error(), "")
		return
	}
	t.d.ok("upload in parts", "invisible until published, and then whole")
	if !quick {
		t.d.ok("throughput", fmt.Sprintf("one stream up %s, down %s; a mount has up to upload_parallel of them",
			rateText(float64(len(data))/took.Seconds()), rateText(float64(len(data))/time.Since(read).Seconds())))
	}
}

func (t *trial) putParts(ctx context.Context, st backend.Stage, data []byte) ([]backend.Part, error) {
	for n := 1; n <= st.Parts(); n++ {
		off, size := st.Range(n)
		c := contentOf(data)
		c.Offset, c.Size, c.CRC32C = off, size, crc32c.Checksum(data[off:off+size])
		if _, err := t.store.PutPart(ctx, st, n, c); err != nil {
			return nil, err
		}
	}
	return t.store.StagedParts(ctx, st) // what a restart goes on with
}

// tidy leaves nothing behind, and tries the right to delete by that.
func (t *trial) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := t.store.Delete(ctx, t.dir+"a", t.dir+"clock", t.dir+"damaged", t.dir+"staged"); err != nil {
		t.d.fail("delete", err.Error(), "the right to delete objects is needed; left in the store: "+t.dir)
		return
	}
	t.d.ok("delete", "")
}
