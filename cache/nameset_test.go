package cache

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// What is packed comes out as it went in, in the order of names, with what has been learnt
// since in its place.
func TestNamesComeOutAsTheyWereListed(t *testing.T) {
	at := time.Unix(1_800_000_000, 7)
	attr := backend.Attr{Type: backend.Symlink, Mode: 0o640, UID: 7, GID: 1 << 31, Mtime: time.Unix(-5, 3)}
	in := map[string]remoteEntry{}
	for i := range 300 {
		e := remoteEntry{size: int64(i) << 30, modified: int64(i) * 1e17, etag: fmt.Sprintf("%x", i*7919), seen: at.UnixNano()}
		switch i % 4 {
		case 1:
			e.etag = fmt.Sprintf("\"no-hex-%d", i)
		case 2:
			e = dirEntryAt(at)
			e.more = &entryMore{marker: true, asked: true}
		case 3:
			e.more = &entryMore{attr: attr, crc: 0xdeadbeef, hasCRC: true}
		}
		in[fmt.Sprintf("n%d", i)] = e
	}
	var p packer
	order := rand.Perm(300)
	for _, i := range order {
		e := in[fmt.Sprintf("n%d", i)]
		p.add(fmt.Sprintf("n%d", i), &e)
	}
	again := in["n0"] // a page that comes twice
	p.add("n0", &again)
	p.add("n2", &again) // a file of a directory's name
	var twice []string
	s := nameSet{packed: p.pack(at, func(name string, _ *remoteEntry) bool { return name == "n9" }, func(name string) { twice = append(twice, name) })}
	delete(in, "n9")
	if fmt.Sprint(twice) != "[n2]" {
		t.Errorf("both a file and a directory: %v", twice)
	}
	s.remove("n10")
	delete(in, "n10")
	s.set("n11", again)
	in["n11"] = again
	s.set("new", again)
	in["new"] = again
	s.set("gone", again)
	s.remove("gone")
	out, last := map[string]remoteEntry{}, ""
	s.each(func(name string, e *remoteEntry) {
		if _, dup := out[name]; dup {
			t.Errorf("%s comes twice", name)
		}
		out[name] = *e
	})
	for i := range s.packed.len() {
		if name := s.packed.name(i); name <= last {
			t.Errorf("%s after %s", name, last)
		} else {
			last = name
		}
	}
	if !reflect.DeepEqual(in, out) {
		for name, e := range in {
			if !reflect.DeepEqual(e, out[name]) {
				t.Errorf("%s: %+v, want %+v", name, out[name], e)
			}
		}
		t.Fatalf("%d names, want %d", len(out), len(in))
	}
	for name, e := range in {
		if got, ok := s.get(name); !ok || !reflect.DeepEqual(got, e) {
			t.Errorf("get %s: %+v, want %+v", name, got, e)
		}
	}
	for _, name := range []string{"", "n", "n10", "n9", "gone", "zz"} {
		if _, ok := s.get(name); ok {
			t.Errorf("%q is there", name)
		}
	}
}
