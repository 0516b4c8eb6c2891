package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testEnviron(env map[string]string, uid int, home string) environ {
	return environ{getenv: func(k string) string { return env[k] }, uid: uid, home: home}
}

func resolveConfig(t *testing.T, source, options string, env environ) (*Config, error) {
	t.Helper()
	r := &mountRequest{source: source, mountPoint: filepath.Join(t.TempDir(), "mnt"), options: []string{options}}
	c, _, err := r.resolved(env)
	return c, err
}

func TestCacheDirectoryIsChosenInOrder(t *testing.T) {
	const source = "s3://bucket/runs/one"
	hash := cacheFolder(source)
	tests := []struct {
		name    string
		options string
		env     map[string]string
		uid     int
		want    string
	}{
		{"given wins and is used as it is", "cache_dir=/c/d", map[string]string{"TRAINFS_CACHE_DIR": "/e"}, 0, "/c/d"},
		{"ours before Ray's", "", map[string]string{"TRAINFS_CACHE_DIR": "/e", "RAY_AIR_LOCAL_CACHE_DIR": "/r"}, 0, "/e/" + hash},
		{"Ray's", "", map[string]string{"RAY_AIR_LOCAL_CACHE_DIR": "/r"}, 0, "/r/" + hash},
		{"root", "", nil, 0, "/var/cache/trainfs/" + hash},
		{"user", "", nil, 1000, "/home/u/.cache/trainfs/" + hash},
		{"XDG", "", map[string]string{"XDG_CACHE_HOME": "/x"}, 1000, "/x/trainfs/" + hash},
		{"relative XDG is ignored", "", map[string]string{"XDG_CACHE_HOME": "x"}, 1000, "/home/u/.cache/trainfs/" + hash},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := resolveConfig(t, source, tt.options, testEnviron(tt.env, tt.uid, "/home/u"))
			if err != nil || c.CacheDir != tt.want {
				t.Errorf("%q, %v; want %q", c.CacheDir, err, tt.want)
			}
		})
	}
	if _, err := resolveConfig(t, source, "", testEnviron(nil, 1000, "")); err == nil {
		t.Error("no HOME and no complaint")
	}
}

func TestCacheFolderTellsStoragePathsApart(t *testing.T) {
	a, b := cacheFolder("s3://bucket/a/b"), cacheFolder("s3://bucket/a-b")
	if a == b || !strings.HasPrefix(a, "s3-bucket-a-b-") {
		t.Errorf("%q %q", a, b)
	}
	if long := cacheFolder("file://" + strings.Repeat("/долго", 200)); len(long) > 255 {
		t.Errorf("%d bytes", len(long))
	}
}

func TestSpellingsOfOneStoragePathShareACache(t *testing.T) {
	env := testEnviron(nil, 0, "")
	a, err := resolveConfig(t, "s3://b/p?endpoint_override=localhost:9000&scheme=http&region=eu-west-1", "", env)
	if err != nil {
		t.Fatal(err)
	}
	b, err := resolveConfig(t, "s3://b/p/", "endpoint=http://localhost:9000", env)
	if err != nil {
		t.Fatal(err)
	}
	if a.CacheDir != b.CacheDir {
		t.Errorf("%q and %q", a.CacheDir, b.CacheDir)
	}
}

func TestSourceFromEnvironmentOnlyIfNotGiven(t *testing.T) {
	env := testEnviron(map[string]string{"RAY_STORAGE": "s3://from/env"}, 0, "")
	if c, err := resolveConfig(t, "", "", env); err != nil || c.Source != "s3://from/env" {
		t.Errorf("%q %v", c.Source, err)
	}
	if c, err := resolveConfig(t, "s3://given/x", "", env); err != nil || c.Source != "s3://given/x" {
		t.Errorf("%q %v", c.Source, err)
	}
	if _, err := resolveConfig(t, "", "", testEnviron(nil, 0, "")); err == nil || !strings.Contains(err.Error(), "RAY_STORAGE") {
		t.Errorf("%v", err)
	}
}

func TestStoreOptionsAddToTheStoragePath(t *testing.T) {
	tests := []struct {
		source, options string
		param, want     string
	}{
		{"s3://b/p", "endpoint=http://h:9", "endpoint_override", "http://h:9"},
		{"s3://b/p?endpoint_override=h:9", "scheme=http", "endpoint_override", "http://h:9"},
		{"s3://b/p?endpoint-override=http://h:9", "endpoint=http://h:9,region=eu-west-1", "region", "eu-west-1"},
		{"s3://b/p", "path_style", "path_style", "true"},
		{"s3://b/p", "nopath_style", "path_style", "false"},
	}
	for _, tt := range tests {
		c, err := resolveConfig(t, tt.source, tt.options, testEnviron(nil, 0, ""))
		if err != nil {
			t.Errorf("%s %s: %v", tt.source, tt.options, err)
			continue
		}
		where, err := c.location()
		if err != nil || where.location.Params[tt.param] != tt.want {
			t.Errorf("%s %s: %v, %v", tt.source, tt.options, where.location.Params, err)
		}
	}
}

func TestContradictionsAreErrors(t *testing.T) {
	dir := t.TempDir()
	tests := []struct{ source, options, want string }{
		{"s3://b", "ro,rw", "contradict"},
		{"s3://b", "ro,commit=close", "contradict"},
		{"s3://b", "ro,fsync=remote", "contradict"},
		{"s3://b", "sync_artifacts=off,sync_period=5s", "contradict"},
		{"s3://b?region=eu-west-1", "region=eu-west-2", "contradict"},
		{"s3://b?endpoint_override=http://h", "endpoint=http://g", "contradict"},
		{"s3://b?endpoint_override=http://h", "scheme=https", "contradict"},
		{"s3://b?path_style=false", "path_style", "contradict"},
		{"s3://b", "endpoint=ftp://h", "endpoint"},
		{dir, "region=eu-west-1", "is for s3://"},
		{dir, "kms_key=k", "is for s3:// and gs://"},
		{"gs://bucket", "sse=aws:kms", "is for s3://"},
		{"gs://bucket", "path_style", "is for s3://"},
		{"s3://b", "user_project=p", "is for gs://"},
		{"s3://b", "sse=AES256,kms_key=k", "contradict"},
		{"s3://b", "sse=rot13", "sse"},
		{"s3://b", "tags==x", "at most ten"},
		{dir, "cache_dir=" + dir + "/cache", "overlap"},
		{dir + "/store", "cache_dir=" + dir, "overlap"},
		{"viewfs:///b", "", "name the hdfs:// path"},
		{"s3://key:hunter2@b", "", "credentials"},
		{"ftp://b", "", "scheme"},
		{"just-a-name", "", "neither an absolute path nor a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.source+" "+tt.options, func(t *testing.T) {
			_, err := resolveConfig(t, tt.source, tt.options, testEnviron(nil, 0, ""))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
			if exitCode(err) != exitUsage || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("exit code %d: %v", exitCode(err), err)
			}
		})
	}
}

func TestMountOverItsOwnPartsIsRefused(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ source, mountPoint, options string }{
		{dir + "/store", dir + "/store", "cache_dir=/c"},
		{dir + "/store", dir + "/store/mnt", "cache_dir=/c"},
		{dir + "/store", dir, "cache_dir=/c"},
		{"s3://b", dir, "cache_dir=" + dir},
		{"s3://b", dir, "cache_dir=" + link + "/c"},
		{"s3://b", dir, "cache_dir=/c,log_file=" + dir + "/log"},
	} {
		r := &mountRequest{source: tt.source, mountPoint: tt.mountPoint, options: []string{tt.options}}
		if _, _, err := r.resolved(testEnviron(nil, 0, "")); err == nil {
			t.Errorf("%+v was accepted", tt)
		}
	}
}
