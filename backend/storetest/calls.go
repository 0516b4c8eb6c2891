package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

var callCases = []testCase{
	{"end with their context", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("x"))
		u := begin(t, s, "b", backend.Attr{})
		u.put(t, s, 1, 2, 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		errs := map[string]error{backend.OpDelete: s.Delete(ctx, "a"), backend.OpAbortStage: s.AbortStage(ctx, u.Stage)}
		_, errs[backend.OpHead] = s.Head(ctx, "a")
		_, errs[backend.OpList] = s.List(ctx, backend.ListOptions{})
		_, _, errs[backend.OpGet] = s.Get(ctx, "a", backend.GetOptions{})
		_, errs[backend.OpPut] = s.Put(ctx, "c", content([]byte("x")), backend.PutOptions{})
		_, errs[backend.OpCopy] = s.Copy(ctx, "a", "c", backend.PutOptions{})
		_, errs[backend.OpBeginStage] = s.BeginStage(ctx, "c", u.Size, u.PartSize, backend.Attr{})
		_, errs[backend.OpPutPart] = s.PutPart(ctx, u.Stage, 1, u.part(1))
		_, errs[backend.OpStagedParts] = s.StagedParts(ctx, u.Stage)
		_, errs[backend.OpPublishStage] = u.publish(ctx, s, backend.PutOptions{})
		_, errs[backend.OpListStages] = s.ListStages(ctx, "")
		for _, op := range backend.Ops() {
			if !errors.Is(errs[op], context.Canceled) {
				t.Errorf("%s: %v", op, errs[op])
			}
		}
		wantContent(t, s, "a", []byte("x"))
		wantAbsent(t, s, "c")
		u.mustPublish(t, s)
	}},
	{"may be made from many goroutines at once", func(t *testing.T, s backend.Store) {
		forEach(t, 64, func(ctx context.Context, i int) error {
			key, data := fmt.Sprintf("d%d/k%d", i%4, i), random(byte(i), 10_000+i)
			if _, err := s.Put(ctx, key, content(data), backend.PutOptions{}); err != nil {
				return err
			}
			body, _, err := s.Get(ctx, key, backend.GetOptions{})
			if err != nil {
				return err
			}
			got, err := io.ReadAll(body)
			body.Close()
			if err == nil && !bytes.Equal(got, data) {
				err = fmt.Errorf("%s: %d bytes that are not those put", key, len(got))
			}
			if _, lerr := s.List(ctx, backend.ListOptions{Prefix: "d0/"}); lerr != nil {
				return lerr
			}
			if i%2 == 0 {
				err = errors.Join(err, s.Delete(ctx, key))
			}
			return err
		})
		if keys, _ := list(t, s, backend.ListOptions{}); len(keys) != 32 {
			t.Errorf("%d keys left, want 32: %q", len(keys), keys)
		}
	}},
	{"name the operation and the key in their errors", func(t *testing.T, s backend.Store) {
		_, err := s.Head(t.Context(), "d/missing")
		var e *backend.Error
		if !errors.As(err, &e) || e.Op != backend.OpHead || e.Key != "d/missing" {
			t.Errorf("error %#v", err)
		}
	}},
}
