package file

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := check(ctx, backend.OpPublishStage, st.Key); err != nil {
		return backend.Object{}, err
	}
	t, err := s.openStage(ctx, st)
	if err != nil {
		return backend.Object{}, fail(backend.OpPublishStage, st.Key, err)
	}
	defer t.close()
	obj, err := s.publish(t, st, parts, crc, o.IfAbsent)
	return obj, fail(backend.OpPublishStage, st.Key, err)
}

func (s *Store) publish(t *temp, st backend.Stage, parts []backend.Part, crc uint32, ifAbsent bool) (backend.Object, error) {
	held, err := heldParts(t, st)
	if err != nil {
		return backend.Object{}, err
	}
	if err := checkWhole(st, parts, held, crc); err != nil {
		return backend.Object{}, err
	}
	if info, err := t.file.Stat(); err != nil || info.Size() != st.Size {
		return backend.Object{}, errors.Join(err, fmt.Errorf("%w: staged data of another size", backend.ErrChecksum))
	}
	if err := s.finish(t, st.Attr, crc, true); err != nil {
		return backend.Object{}, err
	}
	if err := s.place(t, st.Key, ifAbsent); missing(err) && t.gone() {
		return backend.Object{}, backend.ErrNoStage // somebody else was faster
	} else if err != nil {
		return backend.Object{}, err
	}
	unix.Unlinkat(int(t.dir.Fd()), st.ID+partsSuffix, 0) // else AbortStage does
	obj, _, err := describe(t.file, st.Key)
	return obj, err
}

// checkWhole compares what the caller thinks is staged with what is.
func checkWhole(st backend.Stage, parts, held []backend.Part, crc uint32) error {
	if err := st.CheckParts(parts); err != nil {
		return err
	}
	if err := st.CheckParts(held); err != nil {
		return err
	}
	sum := uint32(0)
	for i, p := range held {
		if parts[i] != p {
			return fmt.Errorf("%w: part %d is %+v, not %+v", backend.ErrChecksum, p.Number, p, parts[i])
		}
		sum = crc32c.Combine(sum, p.CRC32C, p.Size)
	}
	if sum != crc {
		return fmt.Errorf("%w: %08x, not %08x", backend.ErrChecksum, sum, crc)
	}
	return nil
}
