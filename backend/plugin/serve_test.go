package plugin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/file"
)

// The test's own program is the plug-in: with this variable it serves a directory, or does
// what the variable says wrong.
const serveVariable = "TRAINFS_PLUGIN_TEST"

func TestMain(m *testing.M) {
	if how := os.Getenv(serveVariable); how != "" {
		serve(how)
		return
	}
	os.Exit(m.Run())
}

// server is a plug-in over backend/file.
type server struct {
	how   string
	store *file.Store
	write sync.Mutex
	parts sync.Map // bytes of a part that is being written, by stage and number
}

func serve(how string) {
	s := &server{how: how}
	fmt.Fprintln(os.Stderr, "serving", how)
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	for n := 0; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			panic(err)
		}
		body := make([]byte, m.Body)
		if _, err := io.ReadFull(in, body); err != nil {
			panic(err)
		}
		if m.Op != opCancel {
			go s.handle(m, body)
		}
	}
}

func (s *server) say(a map[string]any, body []byte) {
	if len(body) > 0 {
		a["body"] = len(body)
	}
	line, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	s.write.Lock()
	defer s.write.Unlock()
	_, _ = os.Stdout.Write(append(append(line, '\n'), body...))
}

func (s *server) handle(m message, body []byte) {
	a, data, err := s.misbehave(m, body)
	if err != nil {
		a = map[string]any{"error": kindOf(err), "message": err.Error()}
	}
	if a == nil {
		a = map[string]any{}
	}
	a["id"] = m.ID
	s.say(a, data)
}

func kindOf(err error) string {
	for name, kind := range errorKinds {
		if kind != nil && errors.Is(err, kind) {
			return name
		}
	}
	return ""
}

// misbehave does what the test wants to see, for reads alone, and all else right.
func (s *server) misbehave(m message, body []byte) (map[string]any, []byte, error) {
	a, data, err := s.do(m, body)
	if m.Op == opHello && s.how == "version" {
		a["version"] = 7
	}
	if m.Op != opRead || err != nil {
		return a, data, err
	}
	obj, _ := a["object"].(*object)
	switch s.how {
	case "crash":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	case "crash-once":
		if f, err := os.OpenFile(os.Getenv("TRAINFS_PLUGIN_ONCE"), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
			os.Exit(3)
		}
	case "hang":
		select {}
	case "slow":
		for range 20 {
			time.Sleep(20 * time.Millisecond)
			s.say(map[string]any{"id": m.ID, "working": true}, nil)
		}
	case "short":
		data = data[:len(data)-1]
	case "long":
		data = append(data, 'x')
	case "size":
		obj.Size++
	case "key":
		obj.Key = "other"
	case "negative":
		obj.Size = -1
	case "etag":
		obj.ETag = ""
	case "garbage":
		_, _ = os.Stdout.WriteString("hello, is anybody there?\n")
	case "endless":
		for {
			if _, err := os.Stdout.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
				os.Exit(1)
			}
		}
	case "huge":
		s.say(map[string]any{"id": m.ID, "body": int64(1) << 50}, nil)
	case "unknown":
		s.say(map[string]any{"id": m.ID, "error": "tired", "message": "not today"}, nil)
	}
	return a, data, nil
}

func show(o backend.Object) *object {
	x := &object{Key: o.Key, Size: o.Size, ETag: o.ETag, Modified: o.Modified, Attr: o.Attr}
	if o.HasCRC32C {
		x.CRC32C = &o.CRC32C
	}
	return x
}

func answerOf(o backend.Object, err error) (map[string]any, []byte, error) {
	return map[string]any{"object": show(o)}, nil, err
}

func (s *server) do(m message, body []byte) (map[string]any, []byte, error) {
	ctx, st := context.Background(), backend.Stage{}
	if m.Stage != nil {
		st = *m.Stage
	}
	attr, crc := backend.Attr{}, uint32(0)
	if m.Attr != nil {
		attr = *m.Attr
	}
	if m.CRC32C != nil {
		crc = *m.CRC32C
	}
	o := backend.PutOptions{Attr: attr, IfAbsent: m.IfAbsent, SourceETag: m.ETag}
	part := fmt.Sprint(st.ID, "/", m.Part)
	switch m.Op {
	case opHello:
		var err error
		s.store, err = file.Open(ctx, backend.Location{Scheme: "file", Prefix: m.Path})
		if err != nil {
			return nil, nil, err
		}
		c := s.store.Capabilities()
		return map[string]any{"version": Version, "capabilities": capabilities{
			MinPartSize: c.MinPartSize, MaxPartSize: c.MaxPartSize, MaxParts: c.MaxParts, MaxSize: c.MaxSize,
			ConditionalPut: c.ConditionalPut, WholeFiles: c.WholeFiles, KeepsAttrInList: c.KeepsAttrInList,
		}}, nil, nil
	case opOpen:
		if s.how == "denied" {
			return nil, nil, &backend.Error{Op: opOpen, Kind: backend.ErrDenied, Err: errors.New("who are you?")}
		}
		return nil, nil, nil
	case backend.OpHead:
		return answerOf(s.store.Head(ctx, m.Key))
	case backend.OpList:
		p, err := s.store.List(ctx, backend.ListOptions{Prefix: m.Prefix, Shallow: m.Shallow, Token: m.Token, Limit: m.Limit})
		var objects []*object
		for _, obj := range p.Objects {
			objects = append(objects, show(obj))
		}
		return map[string]any{"objects": objects, "prefixes": p.Prefixes, "token": p.Token}, nil, err
	case opRead:
		r, obj, err := s.store.Get(ctx, m.Key, backend.GetOptions{Offset: m.Offset, Length: m.Length, ETag: m.ETag})
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		data, err := io.ReadAll(io.LimitReader(r, m.Length))
		return map[string]any{"object": show(obj)}, data, err
	case backend.OpPut:
		return answerOf(s.store.Put(ctx, m.Key, backend.Content{R: bytes.NewReader(body), Size: int64(len(body)), CRC32C: crc}, o))
	case backend.OpCopy:
		return answerOf(s.store.Copy(ctx, m.Key, m.To, o))
	case backend.OpDelete:
		return nil, nil, s.store.Delete(ctx, m.Keys...)
	case backend.OpBeginStage:
		st, err := s.store.BeginStage(ctx, m.Key, st.Size, st.PartSize, st.Attr)
		return map[string]any{"stage": st}, nil, err
	case opWrite:
		var old []byte
		if v, ok := s.parts.Load(part); ok && m.Offset > 0 {
			old = v.([]byte)
		}
		if m.Offset != int64(len(old)) {
			return nil, nil, fmt.Errorf("a piece at %d, behind %d bytes", m.Offset, len(old))
		}
		s.parts.Store(part, append(old, body...))
		return nil, nil, nil
	case backend.OpPutPart:
		v, _ := s.parts.LoadAndDelete(part)
		data, _ := v.([]byte)
		p, err := s.store.PutPart(ctx, st, m.Part, backend.Content{R: bytes.NewReader(data), Size: m.Length, CRC32C: crc32c.Checksum(data)})
		return map[string]any{"etag": p.ETag}, nil, err
	case backend.OpStagedParts:
		parts, err := s.store.StagedParts(ctx, st)
		return map[string]any{"parts": parts}, nil, err
	case backend.OpPublishStage:
		return answerOf(s.store.PublishStage(ctx, st, m.Parts, crc, o))
	case backend.OpAbortStage:
		return nil, nil, s.store.AbortStage(ctx, st)
	case backend.OpListStages:
		stages, err := s.store.ListStages(ctx, m.Prefix)
		return map[string]any{"stages": stages}, nil, err
	}
	return nil, nil, fmt.Errorf("unknown operation %q", m.Op)
}
