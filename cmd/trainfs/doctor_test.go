package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
)

// lax is a store that does not keep its promises.
type lax struct {
	backend.Store
	damaged, conditions, shows, readOnly bool
	late                                 time.Duration
}

func (l *lax) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if l.readOnly {
		return backend.Object{}, &backend.Error{Op: backend.OpPut, Key: key, Kind: backend.ErrDenied}
	}
	if l.damaged && strings.HasSuffix(key, "damaged") {
		c.CRC32C--
	}
	if l.conditions {
		o.IfAbsent = false
	}
	return l.Store.Put(ctx, key, c, o)
}

func (l *lax) Head(ctx context.Context, key string) (backend.Object, error) {
	obj, err := l.Store.Head(ctx, key)
	if l.shows && strings.HasSuffix(key, "staged") {
		return obj, nil
	}
	obj.Modified = obj.Modified.Add(l.late)
	return obj, err
}

func TestDoctorFindsWhatAStoreDoesNotKeep(t *testing.T) {
	for check, c := range map[string]struct {
		store  lax
		result string
	}{
		"checksum":          {lax{damaged: true}, findingFail},
		"conditional write": {lax{conditions: true}, findingFail},
		"upload in parts":   {lax{shows: true}, findingFail},
		"write":             {lax{readOnly: true}, findingFail},
		"clock":             {lax{late: time.Hour}, findingWarn},
	} {
		t.Run(check, func(t *testing.T) {
			c.store.Store = mem.New()
			d := &diagnosis{area: "store"}
			d.tryStore(t.Context(), &c.store, &Config{}, true)
			for _, f := range d.Findings {
				wrong := f.Check == check
				if wrong != (f.Result != findingOK) || wrong && (f.Result != c.result || f.Advice+f.Detail == "") {
					t.Errorf("%+v", f)
				}
			}
			page, err := c.store.List(t.Context(), backend.ListOptions{})
			stages, serr := c.store.ListStages(t.Context(), "")
			if err != nil || serr != nil || len(page.Objects)+len(stages) > 0 {
				t.Errorf("left behind: %+v, %+v, %v, %v", page, stages, err, serr)
			}
		})
	}
}

func TestDoctorOfADirectory(t *testing.T) {
	store, cache := t.TempDir(), filepath.Join(t.TempDir(), "not/yet")
	c, err := resolveConfig(t, store, "cache_dir="+cache, testEnviron(nil, 0, ""))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	// What is wrong with this machine is not the test's to judge; the store is all right.
	_ = examine(t.Context(), c, &out, true, true)
	var d diagnosis
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	seen := map[string]string{}
	for _, f := range d.Findings {
		seen[f.Area+" "+f.Check] = f.Result
	}
	for _, check := range []string{"open", "latency", "clock", "write, read, list", "checksum", "conditional write", "upload in parts", "delete"} {
		if seen["store "+check] != findingOK {
			t.Errorf("%s: %q", check, seen["store "+check])
		}
	}
	for _, check := range []string{"FUSE", "passthrough", "open files", "cache directory", "cache disk"} {
		if seen["machine "+check] == "" {
			t.Errorf("%s is not looked at", check)
		}
	}
	if exists, _ := filepath.Glob(filepath.Dir(cache)); exists != nil {
		t.Error("it made the cache directory")
	}
}

func TestDoctorWritesNothingForAReadOnlyMount(t *testing.T) {
	store := t.TempDir()
	c, err := resolveConfig(t, store, "ro,cache_dir="+t.TempDir(), testEnviron(nil, 0, ""))
	if err != nil {
		t.Fatal(err)
	}
	_ = examine(t.Context(), c, &bytes.Buffer{}, false, true)
	err = filepath.WalkDir(store, func(path string, _ fs.DirEntry, err error) error {
		if path != store {
			t.Errorf("left in the store: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDoctorFailsWithWhatToDoWhereThereIsNoStore(t *testing.T) {
	c, err := resolveConfig(t, "/no/such/directory", "cache_dir="+t.TempDir(), testEnviron(nil, 0, ""))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = examine(t.Context(), c, &out, false, true)
	if exitCode(err) != exitFailure || !strings.Contains(out.String(), "fail  store    open") || !strings.Contains(out.String(), "/no/such/directory") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
