package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fileWith(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// from gives the origin of every option, by name.
func from(s *shownConfig) map[string]shownOption {
	by := map[string]shownOption{}
	for _, o := range s.Options {
		by[o.Name] = o
	}
	return by
}

// Flags over fstab over environment over file over defaults: each place sets the option that
// it wins, and all the ones that it loses.
func TestPlacesOfOptionsWinInOrder(t *testing.T) {
	file := fileWith(t, "c.yaml", `
# a comment
settle: 1s
hold: 1m
sync_period: 1m
list-ttl: 9s
allow_other: yes
exclude: [a, "b,c"]
checkpoint: mine_*
part_size: 32M
ro: true
`)
	fstab := fileWith(t, "fstab", "# x\n"+
		"s3://other/x /mnt/other trainfs settle=59s 0 0\n"+
		`s3://b/p /mnt/my\040train trainfs _netdev,settle=3s,hold=3m,nofail,exclude=f 0 0`+"\n")
	env := testEnviron(map[string]string{
		"TRAINFS_SETTLE": "2s", "TRAINFS_HOLD": "2m", "TRAINFS_SYNC_PERIOD": "2m", "TRAINFS_CHECKPOINT": `x_*,y\,z`,
		"TRAINFS_CACHE_DIR": "/scratch", "TRAINFS_PREFETCH": "no",
	}, 0, "")
	r := &mountRequest{source: "s3://b/p", config: file, options: []string{"settle=4s,rw"}}
	s, err := showConfig(r, env, fstab)
	if err != nil {
		t.Fatal(err)
	}
	if s.MountPoint != "/mnt/my train" || s.File != file || !strings.HasSuffix(s.Fstab, "line 3") {
		t.Errorf("%+v", s)
	}
	by := from(s)
	for name, want := range map[string][2]string{
		"settle":      {"4s", "flag -o"},
		"hold":        {"3m", "fstab, line 3"},
		"sync_period": {"2m", "environment TRAINFS_SYNC_PERIOD"},
		"prefetch":    {"off", "environment TRAINFS_PREFETCH"},
		"list_ttl":    {"9s", "file " + file + ", line 6"},
		"allow_other": {"yes", "file " + file + ", line 7"},
		"part_size":   {"32M", "file " + file + ", line 10"},
		"fsync":       {"local", "default"},
		"exclude":     {"f", "fstab, line 3"},
		"checkpoint":  {"x_*,y,z", "environment TRAINFS_CHECKPOINT"},
		"ro":          {"off", "file " + file + ", line 11"},
		"config":      {file, "flag --config"},
		"cache_dir":   {"/scratch/" + cacheFolder("s3://b/p"), "environment TRAINFS_CACHE_DIR"},
	} {
		if got := by[name]; got.Value != want[0] || got.From != want[1] {
			t.Errorf("%s is %q from %q, want %q from %q", name, got.Value, got.From, want[0], want[1])
		}
	}
	if list := by["checkpoint"].List; len(list) != 2 || list[1] != "y,z" {
		t.Errorf("%q", list)
	}
	c, _, err := r.resolved(env)
	if err != nil {
		t.Fatal(err)
	}
	if c.Settle != 4*time.Second || c.Hold != 3*time.Minute || c.PartSizeBytes != 32<<20 || c.ReadOnly || !c.AllowOther || c.Prefetch != "off" || len(c.Exclude) != 1 {
		t.Errorf("%+v", c)
	}
	if text, err := json.Marshal(s); err != nil || !strings.Contains(string(text), `"name":"settle","value":"4s","from":"flag -o"`) {
		t.Errorf("%s %v", text, err)
	}
}

func TestFileGivesSourceAndMountPoint(t *testing.T) {
	file := fileWith(t, "c.yaml", "source: s3://b/p\nmount_point: /mnt/x\ncache_dir: /c\n")
	c, _, err := (&mountRequest{options: []string{"config=" + file}}).resolved(testEnviron(nil, 0, ""))
	if err != nil || c.Source != "s3://b/p" || c.MountPoint != "/mnt/x" || c.CacheDir != "/c" {
		t.Errorf("%+v %v", c, err)
	}
	r := &mountRequest{options: []string{"config=" + file}, source: "s3://other", mountPoint: "/mnt/y"}
	if c, _, err = r.resolved(testEnviron(nil, 0, "")); err != nil || c.Source != "s3://other" || c.MountPoint != "/mnt/y" {
		t.Errorf("%+v %v", c, err)
	}
	// The daemon is started with what was found, wherever it is started.
	args := strings.Join(r.daemonArgs(c), " ")
	if !strings.Contains(args, "-o config="+file) {
		t.Error(args)
	}
}

func TestUsualFileIsReadIfThereIsOne(t *testing.T) {
	file := fileWith(t, "trainfs.yaml", "settle: 7s\n")
	env := testEnviron(nil, 0, "")
	env.configFiles = []string{"/nonexistent/x.yaml", file}
	if c, err := resolveConfig(t, "s3://b", "", env); err != nil || c.Settle != 7*time.Second {
		t.Errorf("%v %v", c, err)
	}
	env = testEnviron(map[string]string{"TRAINFS_CONFIG": file}, 0, "")
	if c, err := resolveConfig(t, "s3://b", "", env); err != nil || c.Settle != 7*time.Second {
		t.Errorf("%v %v", c, err)
	}
}

func TestBadConfigurationIsNamed(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"setle: 3s", `line 1: unknown option "setle"; the nearest known one is "settle"`},
		{"\n\nsettle: forever", "line 3: option settle=forever: the value must be a duration"},
		{"hold: 25h", "out of range"},
		{"settle: 3s\nsettle: 4s", "line 2: settle is already given in line 1"},
		{"endpoint: a\nendpoint_override: b", "already given"},
		{"settle: [1s, 2s]", "takes one value"},
		{"settle: {a: b}", "wanted a value"},
		{"settle:", "has no value"},
		{"exclude: [[a]]", "list of something else"},
		{"exclude: '['", "must be a glob"},
		{"cache_dir: relative", "absolute"},
		{"mount_point: relative", "absolute"},
		{"config: /x", "cannot name another"},
		{"nosettle: on", "unknown option"},
		{"secret_access_key: hunter2", "credentials are never mount options"},
		{"just text", "wanted lines of the form"},
		{"- a\n- b", "wanted lines of the form"},
		{"a: b: c", "yaml:"},
		{"settle: 3s\n---\nhold: 1s", "more than one document"},
		{"exclude: &x [a]\ncheckpoint: *x", "wanted a value"},
		{strings.Repeat("# padding\n", maxConfigFile/10+1), "larger than"},
	} {
		path := fileWith(t, "c.yaml", tt.text)
		_, err := resolveConfig(t, "s3://b", "config="+path, testEnviron(nil, 0, ""))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40q: got %v, want %q and the file in it", tt.text, err, tt.want)
		} else if exitCode(err) != exitUsage || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("exit code %d: %v", exitCode(err), err)
		}
	}
	for _, path := range []string{"/nonexistent/c.yaml", t.TempDir()} {
		if _, err := resolveConfig(t, "s3://b", "config="+path, testEnviron(nil, 0, "")); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	env := testEnviron(map[string]string{"TRAINFS_SETTLE": "x"}, 0, "")
	if _, err := resolveConfig(t, "s3://b", "", env); err == nil || !strings.Contains(err.Error(), "TRAINFS_SETTLE") || exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
}

func FuzzConfigurationFile(f *testing.F) {
	f.Add("settle: 3s\nexclude: [a, b]\n")
	f.Add("a: &b [*b]\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_ = newConfig().applyYAML("f", text) // must end, and not panic
	})
}
