package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/file"
	"github.com/trainfs/trainfs/backend/gcs"
	"github.com/trainfs/trainfs/backend/hdfs"
	"github.com/trainfs/trainfs/backend/plugin"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

// store is a storage path.
type store struct {
	t      *testing.T
	source string        // as on a command line
	env    []string      // what a client of it needs
	raw    backend.Store // a reader that knows nothing of trainfs
	dir    string        // where the objects are files
	server *versitygw.Server
	bucket string
	proxy  *proxy // what mounts go through; nil for a directory
}

// eachStore runs a test on a directory and on S3.
func eachStore(t *testing.T, test func(t *testing.T, s *store)) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *store{"file": fileStore, "s3": s3Store} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// kind is what figures call it.
func (s *store) kind() string {
	if s.server != nil {
		return "S3 (versitygw)"
	}
	return "directory"
}

func fileStore(t *testing.T) *store {
	dir := t.TempDir()
	return &store{t: t, source: dir, dir: dir, raw: openRaw(t, dir, nil)}
}

func s3Store(t *testing.T) *store {
	server := versitygw.Start(t)
	return s3StoreIn(t, server, server.Bucket)
}

// s3StoreIn is one of several stores of a server.
func s3StoreIn(t *testing.T, server *versitygw.Server, bucket string) *store {
	p := newProxy(t, server.Endpoint)
	must(t, os.MkdirAll(filepath.Join(server.Dir, bucket), 0o755))
	return &store{
		t: t, env: server.Env(), server: server, bucket: bucket, proxy: p,
		source: "s3://" + bucket + "/runs/a?endpoint_override=" + p.url,
		dir:    filepath.Join(server.Dir, bucket, "runs/a"),
		raw:    openRaw(t, "s3://"+bucket+"/runs/a?endpoint_override="+server.Endpoint, server.Env()),
	}
}

// environment serialises the stores that are opened with credentials of this process.
var environment sync.Mutex

func openRaw(t *testing.T, source string, env []string) backend.Store {
	t.Helper()
	loc, err := backend.ParseLocation(source)
	if err != nil {
		t.Fatal(err)
	}
	environment.Lock()
	defer environment.Unlock()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	var raw backend.Store
	switch loc.Scheme {
	case "s3":
		raw, err = s3.Open(context.Background(), loc, s3.Options{})
	case "gs":
		raw, err = gcs.Open(context.Background(), loc, gcs.Options{})
	case "abfs":
		raw, err = azure.Open(context.Background(), loc, azure.Options{})
	case "plugin":
		raw, err = plugin.Open(context.Background(), loc, plugin.Options{Program: "../scripts/trainfs-store-fsspec"})
	case "hdfs":
		raw, err = hdfs.Open(context.Background(), loc, hdfs.Options{})
	default:
		raw, err = file.Open(context.Background(), loc)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return raw
}

// objects lists everything below a prefix, trainfs's own objects included.
func (s *store) objects(prefix string) map[string]backend.Object {
	s.t.Helper()
	found, err := s.list(prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func (s *store) list(prefix string) (map[string]backend.Object, error) {
	found := map[string]backend.Object{}
	for o := (backend.ListOptions{Prefix: prefix}); ; {
		page, err := s.raw.List(context.Background(), o)
		if err != nil {
			return nil, err
		}
		for _, obj := range page.Objects {
			found[obj.Key] = obj
		}
		if o.Token = page.Token; o.Token == "" {
			return found, nil
		}
	}
}

// keys are the user's own keys: neither trainfs's nor directory markers.
func (s *store) keys() []string {
	s.t.Helper()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.objects(""))) {
		if !strings.HasPrefix(key, ".trainfs/") && !strings.HasSuffix(key, "/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// get reads an object; ok is false if there is none.
func (s *store) get(key string) (content string, ok bool) {
	s.t.Helper()
	body, _, err := s.raw.Get(context.Background(), key, backend.GetOptions{})
	if errors.Is(err, backend.ErrNotExist) {
		return "", false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b), true
}

// put is what some other tool does.
func (s *store) put(key, content string) {
	s.t.Helper()
	if _, err := s.raw.Put(context.Background(), key, contentOf(content), backend.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// wantKeys fails unless the store has these keys of the user's and no others, now.
func (s *store) wantKeys(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if got := s.keys(); !slices.Equal(got, want) {
		s.t.Errorf("the store has %q, want %q", got, want)
	}
}

// wantNoTraces fails if anything speaks of a path, trainfs's own objects included.
func (s *store) wantNoTraces(path string) {
	s.t.Helper()
	for key := range s.objects("") {
		if strings.HasPrefix(key+"/", path+"/") || strings.Contains(key, "/units/"+path+"/") {
			s.t.Errorf("left in the store: %s", key)
		}
	}
}

// wantNoOpenMarkers fails if the store says that somebody is still writing.
func (s *store) wantNoOpenMarkers() {
	s.t.Helper()
	for key := range s.objects(".trainfs/") {
		if strings.HasSuffix(key, ".open") {
			s.t.Errorf("left in the store: %s", key)
		}
	}
}

// wantSame fails unless every file below a local directory is an object with the same
// bytes, and there is no other object.
func (s *store) wantSame(dir, prefix string) {
	s.t.Helper()
	local := map[string]string{}
	for path, content := range tree(s.t, dir) {
		local[prefix+path] = sum(content)
	}
	remote := map[string]string{}
	for _, key := range s.keys() {
		if strings.HasPrefix(key, prefix) {
			content, _ := s.get(key)
			remote[key] = sum(content)
		}
	}
	for path := range merge(local, remote) {
		if local[path] != remote[path] {
			s.t.Errorf("%s: SHA-256 of the file is %q, of the object %q", path, local[path], remote[path])
		}
	}
}

func merge(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

// in is the same store, for a subtest.
func (s *store) in(t *testing.T) *store {
	c := *s
	c.t = t
	return &c
}
