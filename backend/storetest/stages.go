package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// upload is a stage under way, with the bytes it is of.
type upload struct {
	backend.Stage
	data  []byte
	parts []backend.Part
}

// begin starts a stage of two whole parts and a bit.
func begin(t *testing.T, s backend.Store, key string, attr backend.Attr) *upload {
	t.Helper()
	partSize := max(s.Capabilities().MinPartSize, 64<<10)
	data := random(7, int(2*partSize)+123)
	st, err := s.BeginStage(t.Context(), key, int64(len(data)), partSize, attr)
	if err != nil {
		t.Fatalf("begin stage %q: %v", key, err)
	}
	return &upload{Stage: st, data: data, parts: make([]backend.Part, st.Parts())}
}

// part is the content of part n.
func (u *upload) part(n int) backend.Content {
	off, size := u.Range(n)
	c := content(u.data)
	c.Offset, c.Size, c.CRC32C = off, size, crc32c.Checksum(u.data[off:off+size])
	return c
}

func (u *upload) put(t *testing.T, s backend.Store, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		p, err := s.PutPart(t.Context(), u.Stage, n, u.part(n))
		if err != nil {
			t.Fatalf("put part %d: %v", n, err)
		}
		u.parts[n-1] = p
	}
}

func (u *upload) publish(ctx context.Context, s backend.Store, o backend.PutOptions) (backend.Object, error) {
	o.Attr = u.Attr
	return s.PublishStage(ctx, u.Stage, u.parts, crc32c.Checksum(u.data), o)
}

func (u *upload) mustPublish(t *testing.T, s backend.Store) backend.Object {
	t.Helper()
	obj, err := u.publish(t.Context(), s, backend.PutOptions{})
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return obj
}

// mustPublishAlone publishes what somebody else may have thrown away, where stages of one
// key are shared. What is then lost is told, changes nothing, and can be staged again.
func (u *upload) mustPublishAlone(t *testing.T, s backend.Store, o backend.PutOptions) {
	t.Helper()
	_, err := u.publish(t.Context(), s, o)
	if errors.Is(err, backend.ErrNoStage) && s.Capabilities().SharedStages {
		data := u.data
		*u = *begin(t, s, u.Key, u.Attr)
		u.data = data
		u.put(t, s, 1, 2, 3)
		_, err = u.publish(t.Context(), s, o)
	}
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func stageKeys(t *testing.T, s backend.Store, prefix string) []string {
	t.Helper()
	stages, err := s.ListStages(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list stages: %v", err)
	}
	var keys []string
	for _, st := range stages {
		if st.ID == "" || st.Started.IsZero() {
			t.Errorf("stage %+v", st)
		}
		keys = append(keys, st.Key)
	}
	slices.Sort(keys)
	return keys
}

var stageCases = []testCase{
	{"are invisible until published, and then whole", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "exp/ckpt/model.pt", someAttr())
		wantAbsent(t, s, u.Key)
		u.put(t, s, 3, 1, 2)
		wantAbsent(t, s, u.Key)
		keys, prefixes := list(t, s, backend.ListOptions{Shallow: true, Prefix: "exp/"})
		wantStrings(t, "listed before publish", append(keys, prefixes...), nil)

		obj := u.mustPublish(t, s)
		wantContent(t, s, u.Key, u.data)
		wantAttr(t, obj.Attr, someAttr())
		got := head(t, s, u.Key)
		wantAttr(t, got.Attr, someAttr())
		if got.ETag != obj.ETag || got.Size != u.Size || obj.Size != u.Size {
			t.Errorf("published %+v, then %+v", obj, got)
		}
		if got.HasCRC32C && got.CRC32C != crc32c.Checksum(u.data) {
			t.Errorf("CRC32C %08x", got.CRC32C)
		}
	}},
	{"leave the object they replace as it is until published", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("old"))
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1, 2, 3)
		wantContent(t, s, "a", []byte("old"))
		u.mustPublish(t, s)
		wantContent(t, s, "a", u.data)
	}},
	{"take one part, even an empty one", func(t *testing.T, s backend.Store) {
		for _, data := range [][]byte{nil, []byte("small")} {
			st, err := s.BeginStage(t.Context(), "a", int64(len(data)), s.Capabilities().MaxPartSize, backend.Attr{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.PutPart(t.Context(), st, 1, content(data))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.PublishStage(t.Context(), st, []backend.Part{p}, p.CRC32C, backend.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, "a", data)
		}
	}},
	{"are resumed from what the store says it holds", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "d/a", backend.Attr{})
		u.put(t, s, 1, 3)
		held, err := s.StagedParts(t.Context(), u.Stage)
		if err != nil || len(held) != 2 {
			t.Fatalf("staged parts: %+v, %v", held, err)
		}
		for i, n := range []int{1, 3} {
			if held[i] != u.parts[n-1] {
				t.Errorf("part %+v, put as %+v", held[i], u.parts[n-1])
			}
		}
		u.put(t, s, 2)
		if u.parts, err = s.StagedParts(t.Context(), u.Stage); err != nil {
			t.Fatal(err)
		}
		u.mustPublish(t, s)
		wantContent(t, s, "d/a", u.data)
	}},
	{"hold nothing at first", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		if held, err := s.StagedParts(t.Context(), u.Stage); err != nil || len(held) != 0 {
			t.Errorf("staged parts: %+v, %v", held, err)
		}
	}},
	{"take a part again", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		other := random(9, int(u.PartSize))
		if _, err := s.PutPart(t.Context(), u.Stage, 1, content(other)); err != nil {
			t.Fatal(err)
		}
		u.put(t, s, 1, 2, 3, 2)
		u.mustPublish(t, s)
		wantContent(t, s, "a", u.data)
	}},
	{"take parts in parallel", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		forEach(t, 3, func(ctx context.Context, i int) (err error) {
			u.parts[i], err = s.PutPart(ctx, u.Stage, i+1, u.part(i+1))
			return err
		})
		u.mustPublish(t, s)
		wantContent(t, s, "a", u.data)
	}},
	{"refuse a part with a wrong checksum", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		c := u.part(1)
		c.CRC32C++
		_, err := s.PutPart(t.Context(), u.Stage, 1, c)
		wantErr(t, err, backend.ErrChecksum)
		if held, err := s.StagedParts(t.Context(), u.Stage); err != nil || len(held) != 0 {
			t.Errorf("staged parts: %+v, %v", held, err)
		}
	}},
	{"refuse a part of the wrong size or number", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		for n, c := range map[int]backend.Content{0: u.part(1), 4: u.part(3), 1: u.part(3), 3: u.part(1)} {
			_, err := s.PutPart(t.Context(), u.Stage, n, c)
			wantErr(t, err, backend.ErrChecksum)
		}
	}},
	{"are not published with a wrong checksum, and then can be", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1, 2, 3)
		_, err := s.PublishStage(t.Context(), u.Stage, u.parts, crc32c.Checksum(u.data)+1, backend.PutOptions{})
		wantErr(t, err, backend.ErrChecksum)
		wantAbsent(t, s, "a")
		u.mustPublish(t, s)
		wantContent(t, s, "a", u.data)
	}},
	{"are not published with a part missing", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1, 3)
		_, err := u.publish(t.Context(), s, backend.PutOptions{})
		wantErr(t, err, backend.ErrChecksum)
		u.parts = []backend.Part{u.parts[0], u.parts[2]}
		_, err = u.publish(t.Context(), s, backend.PutOptions{})
		wantErr(t, err, backend.ErrChecksum)
		wantAbsent(t, s, "a")
	}},
	{"published twice are ErrNoStage or as before, and change nothing", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1, 2, 3)
		first := u.mustPublish(t, s)
		again, err := u.publish(t.Context(), s, backend.PutOptions{})
		if err != nil {
			wantErr(t, err, backend.ErrNoStage)
		} else if again.ETag != first.ETag {
			t.Errorf("ETag %q, then %q", first.ETag, again.ETag)
		}
		wantContent(t, s, "a", u.data)
	}},
	{"published before do not come back over what was put since", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1, 2, 3)
		u.mustPublish(t, s)
		put(t, s, "a", []byte("since"))
		if _, err := u.publish(t.Context(), s, backend.PutOptions{}); err != nil {
			wantErr(t, err, backend.ErrNoStage)
		}
		wantContent(t, s, "a", []byte("since"))
	}},
	{"published with IfAbsent are ErrExist where something is, and remain", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{Mode: 0o444})
		u.put(t, s, 1, 2, 3)
		put(t, s, "a", []byte("first"))
		_, err := u.publish(t.Context(), s, backend.PutOptions{IfAbsent: true})
		wantErr(t, err, backend.ErrExist)
		wantContent(t, s, "a", []byte("first"))
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		u.mustPublishAlone(t, s, backend.PutOptions{IfAbsent: true})
		wantContent(t, s, "a", u.data)
	}},
	{"aborted are gone, and aborting again is no error", func(t *testing.T, s backend.Store) {
		u := begin(t, s, "a", backend.Attr{})
		u.put(t, s, 1)
		for range 2 {
			if err := s.AbortStage(t.Context(), u.Stage); err != nil {
				t.Fatalf("abort: %v", err)
			}
		}
		_, err := s.StagedParts(t.Context(), u.Stage)
		wantErr(t, err, backend.ErrNoStage)
		_, err = s.PutPart(t.Context(), u.Stage, 1, u.part(1))
		wantErr(t, err, backend.ErrNoStage)
		_, err = u.publish(t.Context(), s, backend.PutOptions{})
		if !backend.Permanent(err) {
			t.Errorf("publish: %v", err)
		}
		wantAbsent(t, s, "a")
		wantStrings(t, "stages", stageKeys(t, s, ""), nil)
	}},
	{"of the same key do not disturb each other", func(t *testing.T, s backend.Store) {
		one, two := begin(t, s, "a", backend.Attr{}), begin(t, s, "a", backend.Attr{})
		two.data = random(8, len(two.data))
		one.put(t, s, 1, 2, 3)
		two.put(t, s, 1, 2, 3)
		one.mustPublish(t, s)
		wantContent(t, s, "a", one.data)
		two.mustPublishAlone(t, s, backend.PutOptions{})
		wantContent(t, s, "a", two.data)
	}},
	{"are listed by prefix until published or aborted", func(t *testing.T, s backend.Store) {
		a, b, c := begin(t, s, "exp/a", backend.Attr{}), begin(t, s, "exp/b", backend.Attr{}), begin(t, s, "other/c", backend.Attr{})
		wantStrings(t, "all", stageKeys(t, s, ""), []string{"exp/a", "exp/b", "other/c"})
		wantStrings(t, "below exp/", stageKeys(t, s, "exp/"), []string{"exp/a", "exp/b"})
		wantStrings(t, "below nothing", stageKeys(t, s, "nothing"), nil)
		a.put(t, s, 1, 2, 3)
		a.mustPublish(t, s)
		listed, err := s.ListStages(t.Context(), "exp/")
		if err != nil || len(listed) != 1 || listed[0].ID != b.ID {
			t.Fatalf("list: %+v, %v; want %s", listed, err, b.ID)
		}
		for _, st := range []backend.Stage{listed[0], c.Stage} { // what is listed can be aborted
			if err := s.AbortStage(t.Context(), st); err != nil {
				t.Error(err)
			}
		}
		wantStrings(t, "all", stageKeys(t, s, ""), nil)
	}},
	{"that no store could hold are refused", func(t *testing.T, s backend.Store) {
		caps := s.Capabilities()
		for _, st := range []backend.Stage{
			{Size: caps.MaxSize + 1, PartSize: caps.MaxPartSize},
			{Size: 10, PartSize: 0},
			{Size: 10, PartSize: -1},
			{Size: (int64(caps.MaxParts) + 1) * max(1, caps.MinPartSize), PartSize: max(1, caps.MinPartSize)},
		} {
			_, err := s.BeginStage(t.Context(), "a", st.Size, st.PartSize, backend.Attr{})
			wantErr(t, err, backend.ErrTooLarge)
		}
	}},
}
