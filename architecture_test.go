// Package trainfs_test holds the module to its own architecture (docs/architecture.md).
package trainfs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/trainfs/trainfs/"

// pkg is what the rules need of a package; go list gives it.
type pkg struct {
	ImportPath string
	Imports    []string // not those of tests
}

// ours says which packages of this module a package may import. A key is a pattern of
// path.Match, the longest that matches counts.
var ours = map[string][]string{
	"layout":              {},
	"cache/killpoint":     {},
	"backend":             {},
	"backend/crc32c":      {},
	"backend/*":           {"backend", "backend/crc32c", "backend/usermeta"},
	"backend/storetest":   {"backend", "backend/crc32c"},
	"backend/storetest/*": {"backend/storetest/child"},
	"cache":               {"layout", "backend", "backend/crc32c", "cache/killpoint"},
	"uploader":            {"layout", "backend", "backend/crc32c", "cache", "cache/killpoint"},
	"fusefs":              {"backend", "cache"},
	"cmd/trainfs/monitor": {"backend", "cache"},
	"cmd/trainfs":         {"layout", "backend", "backend/crc32c", "backend/s3", "backend/gcs", "backend/azure", "backend/hdfs", "backend/plugin", "backend/file", "cache", "uploader", "fusefs", "cmd/trainfs/monitor"},
	"integration":         {},
	"scripts/*":           {},
}

// only says who alone may import a module of others, and the one that it is about.
var only = []struct{ prefix, importer string }{
	{"github.com/hanwen/go-fuse/", "fusefs"},
	{"github.com/dgraph-io/badger/", "cache"},
	{"github.com/urfave/cli/", "cmd/trainfs"},
	{"github.com/vbauerster/mpb/", "cmd/trainfs"},
	{"github.com/prometheus/", "cmd/trainfs/monitor"},
	{"go.yaml.in/yaml/", "cmd/trainfs"},
	{"github.com/coreos/go-systemd/", "cmd/trainfs"},
	{"github.com/aws/", "backend/s3"},
	{"cloud.google.com/go/", "backend/gcs"},
	{"google.golang.org/api/", "backend/gcs"},
	{"github.com/Azure/", "backend/azure"},
	{"github.com/colinmarc/hdfs", "backend/hdfs"},
}

// pure may import the standard library, and nothing else.
var pure = []string{"layout", "backend/crc32c", "cache/killpoint"}

func TestImportsGoOneWay(t *testing.T) {
	for _, wrong := range violations(listPackages(t)) {
		t.Error(wrong)
	}
}

// A rule that nothing can break holds nothing.
func TestEveryImportRuleCanBeBroken(t *testing.T) {
	for _, c := range []struct{ from, imports string }{
		{"fusefs", module + "uploader"},
		{"uploader", module + "fusefs"},
		{"cache", module + "uploader"},
		{"cache", module + "backend/s3"},
		{"layout", module + "backend"},
		{"layout", "golang.org/x/sys/unix"},
		{"backend", module + "layout"},
		{"backend/file", module + "backend/s3"},
		{"backend/file", module + "cache"},
		{"uploader", module + "backend/faulty"},
		{"cmd/trainfs", module + "backend/storetest"},
		{"uploader", "github.com/dgraph-io/badger/v4"},
		{"cache", "github.com/hanwen/go-fuse/v2/fs"},
		{"uploader", "github.com/urfave/cli/v2"},
		{"uploader", "github.com/aws/smithy-go"},
		{"backend/file", "github.com/aws/aws-sdk-go-v2/service/s3"},
		{"newpackage", "fmt"},
	} {
		p := pkg{ImportPath: module + c.from, Imports: []string{c.imports}}
		if got := violations([]pkg{p}); len(got) != 1 {
			t.Errorf("%s imports %s: %d violations, want 1: %q", c.from, c.imports, len(got), got)
		}
	}
	good := pkg{ImportPath: module + "fusefs", Imports: []string{"fmt", module + "cache", "github.com/hanwen/go-fuse/v2/fs"}}
	if got := violations([]pkg{good}); len(got) != 0 {
		t.Errorf("what is allowed is refused: %q", got)
	}
}

func violations(all []pkg) []string {
	var wrong []string
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.ImportPath+"/" == module {
			name = "."
		}
		allowed, known := allowedFor(name)
		if !known {
			wrong = append(wrong, fmt.Sprintf("%s is new: say in architecture_test.go what it may import", name))
			continue
		}
		for _, i := range p.Imports {
			if why := refuse(name, i, allowed); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", name, i, why))
			}
		}
	}
	return wrong
}

func allowedFor(name string) (allowed []string, known bool) {
	if name == "." {
		return nil, true
	}
	longest := -1
	for pattern, list := range ours {
		if ok, _ := path.Match(pattern, name); ok && len(pattern) > longest {
			allowed, known, longest = list, true, len(pattern)
		}
	}
	return allowed, known
}

// refuse says why a package may not import i, "" if it may.
func refuse(name, i string, allowed []string) string {
	if own, ok := strings.CutPrefix(i, module); ok {
		if !slices.Contains(allowed, own) {
			return fmt.Sprintf("of this module it may import %q", allowed)
		}
		return ""
	}
	for _, rule := range only {
		if strings.HasPrefix(i+"/", rule.prefix) && name != rule.importer {
			return fmt.Sprintf("only %s may", rule.importer)
		}
	}
	first, _, _ := strings.Cut(i, "/")
	if slices.Contains(pure, name) && strings.Contains(first, ".") {
		return "it is pure, and keeps to the standard library"
	}
	return ""
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list gave %d packages", len(all))
	}
	return all
}
