package main

import (
	"reflect"
	"testing"
)

func TestHelperTakesWhatMountPasses(t *testing.T) {
	tests := []struct {
		args []string
		want mountRequest
	}{
		{[]string{"s3://b/p", "/mnt", "-o", "rw,_netdev"}, mountRequest{source: "s3://b/p", mountPoint: "/mnt", options: []string{"rw,_netdev"}}},
		{[]string{"-o", "ro", "s3://b", "/mnt"}, mountRequest{source: "s3://b", mountPoint: "/mnt", options: []string{"ro"}}},
		{[]string{"/store", "/mnt", "-sfnv", "-oa,b"}, mountRequest{source: "/store", mountPoint: "/mnt", sloppy: true, fake: true, verbose: true, options: []string{"a,b"}}},
		{[]string{"/store", "/mnt", "-nso", "a", "-o", "b"}, mountRequest{source: "/store", mountPoint: "/mnt", sloppy: true, options: []string{"a", "b"}}},
		{[]string{"/store", "/mnt", "-t", "fuse.trainfs", "-o", "rw"}, mountRequest{source: "/store", mountPoint: "/mnt", options: []string{"rw"}}},
		{[]string{"/store", "/mnt", "-r"}, mountRequest{source: "/store", mountPoint: "/mnt", options: []string{"ro"}}},
		{[]string{"-w", "--", "/store", "/mnt"}, mountRequest{source: "/store", mountPoint: "/mnt", options: []string{"rw"}}},
		{[]string{"/mnt"}, mountRequest{mountPoint: "/mnt"}},
	}
	for _, tt := range tests {
		got, err := parseHelper(tt.args)
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%q: %+v, %v", tt.args, got, err)
		}
	}
}

func TestHelperRefusesWhatItCannotDo(t *testing.T) {
	for _, args := range [][]string{
		{}, {"a", "b", "c"}, {"a", "b", "-o"}, {"a", "b", "-x"}, {"a", "b", "--bogus"}, {"a", "b", "-t", "nfs"}, {"a", "b", "-N", "/proc/1/ns/mnt"},
	} {
		if _, err := parseHelper(args); mountExitCode(err) != mountExitUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestHelperIsKnownByItsName(t *testing.T) {
	for name, want := range map[string]bool{
		"/sbin/mount.trainfs": true, "mount.fuse.trainfs": true, "/usr/bin/trainfs": false, "mount.trainfs2": false,
	} {
		if isHelper(name) != want {
			t.Error(name)
		}
	}
}

func TestFlagsMayFollowOperands(t *testing.T) {
	tests := []struct{ in, want []string }{
		{[]string{"t", "mount", "s3://b", "/mnt", "-o", "ro", "-f"}, []string{"t", "mount", "-o", "ro", "-f", "--", "s3://b", "/mnt"}},
		{[]string{"t", "mount", "-oro,x", "s3://b", "/mnt"}, []string{"t", "mount", "-o", "ro,x", "--", "s3://b", "/mnt"}},
		{[]string{"t", "s3://b", "/mnt", "-o", "rw,dev,suid"}, []string{"t", "mount", "-o", "rw,dev,suid", "--", "s3://b", "/mnt"}},
		{[]string{"t", "-o", "rw", "/a", "/mnt"}, []string{"t", "mount", "-o", "rw", "--", "/a", "/mnt"}},
		{[]string{"t", "wait", "/mnt", "--timeout", "3s"}, []string{"t", "wait", "--timeout", "3s", "--", "/mnt"}},
		{[]string{"t", "wait", "--timeout=3s", "/mnt"}, []string{"t", "wait", "--timeout=3s", "--", "/mnt"}},
		{[]string{"t", "wait", "--", "-odd", "-q"}, []string{"t", "wait", "--", "-odd", "-q"}},
		{[]string{"t", "status", "/mnt", "--json"}, []string{"t", "status", "--json", "--", "/mnt"}},
		{[]string{"t", "moutn", "x"}, []string{"t", "moutn", "x"}},
		{[]string{"t", "--help"}, []string{"t", "--help"}},
		{[]string{"t"}, []string{"t"}},
	}
	for _, tt := range tests {
		if got := arrange(tt.in); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestDaemonArgumentsMakeTheSameConfig(t *testing.T) {
	dir := t.TempDir()
	r := &mountRequest{source: "s3://b/p", mountPoint: dir + "/mnt", options: []string{`settle=7s,checkpoint=a\,b`, "cache_dir=" + dir + "/c"}}
	c, _, err := r.resolved(testEnviron(nil, 0, ""))
	if err != nil {
		t.Fatal(err)
	}
	args := arrange(append([]string{"trainfs"}, r.daemonArgs(c)...))
	var options []string
	for i, a := range args {
		if a == "-o" {
			options = append(options, args[i+1])
		}
	}
	again := &mountRequest{source: args[len(args)-2], mountPoint: args[len(args)-1], options: options}
	c2, _, err := again.resolved(testEnviron(nil, 0, ""))
	if err != nil || !reflect.DeepEqual(c, c2) {
		t.Errorf("%+v\n%+v\n%v", c, c2, err)
	}
}
