package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestOptionsAreUnderstood(t *testing.T) {
	tests := []struct {
		options string
		check   func(*Config) bool
	}{
		{"", func(c *Config) bool {
			return c.Settle == 3*time.Second && c.SyncArtifacts && c.PartSizeBytes == 16<<20 && c.Passthrough == "auto"
		}},
		{"settle=10s", func(c *Config) bool { return c.Settle == 10*time.Second }},
		{"settle=10", func(c *Config) bool { return c.Settle == 10*time.Second }},
		{"settle=1m30s", func(c *Config) bool { return c.Settle == 90*time.Second }},
		{"settle=3s,settle=5s", func(c *Config) bool { return c.Settle == 5*time.Second }},
		{"list-ttl=0", func(c *Config) bool { return c.ListTTL == 0 }},
		{"allow-other", func(c *Config) bool { return c.AllowOther }},
		{"allow_other,noallow_other", func(c *Config) bool { return !c.AllowOther }},
		{"allow_other=TRUE", func(c *Config) bool { return c.AllowOther }},
		{"nosync_artifacts", func(c *Config) bool { return !c.SyncArtifacts }},
		{"no-sync-artifacts", func(c *Config) bool { return !c.SyncArtifacts }},
		{"sync_artifacts=off", func(c *Config) bool { return !c.SyncArtifacts }},
		{"passthrough=off", func(c *Config) bool { return c.Passthrough == "off" }},
		{"nopassthrough", func(c *Config) bool { return c.Passthrough == "off" }},
		{"passthrough", func(c *Config) bool { return c.Passthrough == "auto" }},
		{"passthrough=no", func(c *Config) bool { return c.Passthrough == "off" }},
		{"path_style=true", func(c *Config) bool { return c.PathStyle == "on" }},
		{"part_size=64m", func(c *Config) bool { return c.PartSizeBytes == 64<<20 }},
		{"part_size=8388608", func(c *Config) bool { return c.PartSizeBytes == 8<<20 }},
		{"part_size=1GiB", func(c *Config) bool { return c.PartSizeBytes == 1<<30 }},
		{"upload-parallel=16", func(c *Config) bool { return c.UploadParallel == 16 }},
		{`checkpoint=a\,b,checkpoint=best_*`, func(c *Config) bool { return reflect.DeepEqual(c.Checkpoints, []string{"a,b", "best_*"}) }},
		{"exclude=*.secret,not-checkpoint=viz*,exclude=runs/*/x", func(c *Config) bool {
			return reflect.DeepEqual(c.Exclude, []string{"*.secret", "runs/*/x"}) && reflect.DeepEqual(c.NotCheckpoint, []string{"viz*"})
		}},
		{`checkpoint="a,b"`, func(c *Config) bool { return reflect.DeepEqual(c.Checkpoints, []string{"a,b"}) }},
		{`checkpoint=a\[b`, func(c *Config) bool { return reflect.DeepEqual(c.Checkpoints, []string{`a\[b`}) }},
		{"endpoint-override=http://h:1/?a=b", func(c *Config) bool { return c.Endpoint == "http://h:1/?a=b" }},
		{"commit=close,fsync=remote", func(c *Config) bool { return c.Commit == "close" && c.Fsync == "remote" }},
		{"_netdev,nofail,noauto,auto,user,users,owner,group,nouser,rw,defaults,x-systemd.automount,X-mount.mkdir,comment=a b,uhelper=hal,_rnetdev,user=joe",
			func(c *Config) bool { return len(c.KernelOptions) == 0 }},
		{"noatime,nodev,suid,sync", func(c *Config) bool {
			return reflect.DeepEqual(c.KernelOptions, []string{"noatime", "nodev", "suid", "sync"})
		}},
		{"noexec,exec,sync,async", func(c *Config) bool { return reflect.DeepEqual(c.KernelOptions, []string{"exec", "async"}) }},
		{",,settle=4s,", func(c *Config) bool { return c.Settle == 4*time.Second }},
	}
	for _, tt := range tests {
		t.Run(tt.options, func(t *testing.T) {
			c := newConfig()
			if _, err := c.apply([]optionList{{tt.options, "test"}}, false); err != nil {
				t.Fatal(err)
			}
			if !tt.check(c) {
				t.Errorf("not what was asked for: %+v", c)
			}
		})
	}
}

func TestWrongOptionsSayWhatToDo(t *testing.T) {
	tests := []struct{ option, want string }{
		{"setle=3s", `nearest known one is "settle"`},
		{"cachedir=/x", `"cache_dir"`},
		{"allow_others", `"allow_other"`},
		{"checkpoints=a", `"checkpoint"`},
		{"exclud=a", `"exclude"`},
		{"nofial", `"nofail"`},
		{"zzz", `nearest known one is`},
		{"settle=soon", "a duration like"},
		{"settle=0", "out of range: from 100ms to 1h"},
		{"settle=2h", "out of range: from 100ms to 1h"},
		{"settle=-3s", "out of range"},
		{"settle=99999999999999999999", "a duration like"},
		{"settle", "needs a value"},
		{"settle=", "needs a value"},
		{"nosettle", `unknown option "nosettle"`},
		{"cache_dir", "needs a value"},
		{"part_size=1M", "out of range: from 5M to 5G"},
		{"part_size=16X", "a size like"},
		{"part_size=99999999999G", "a size like"},
		{"upload_parallel=0", "out of range: from 1 to 256"},
		{"upload_parallel=many", "a number from 1 to 256"},
		{"commit=never", "async or close"},
		{"commit", "needs a value"},
		{"allow_other=maybe", "on or off"},
		{"noallow_other=1", "takes no value"},
		{"checkpoint=[a", "a glob"},
		{"remount", "trainfs umount"},
		{"passwd_file=/etc/pw", "credentials are never mount options"},
		{"access_key_id=AKIA", "credentials are never mount options"},
		{"aws-secret-access-key=hunter2", "credentials are never mount options"},
		{"session_token=hunter2", "credentials are never mount options"},
		{"exclude=a\x00b", "NUL"},
	}
	for _, tt := range tests {
		t.Run(tt.option, func(t *testing.T) {
			_, err := newConfig().apply([]optionList{{tt.option, "test"}}, false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if exitCode(err) != exitUsage {
				t.Errorf("exit code %d", exitCode(err))
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the error repeats a secret")
			}
		})
	}
}

func TestSloppySkipsUnknownOptionsButNoCredentials(t *testing.T) {
	c := newConfig()
	skipped, err := c.apply([]optionList{{"bogus=1,settle=5s", "test"}}, true)
	if err != nil || !reflect.DeepEqual(skipped, []string{"bogus"}) || c.Settle != 5*time.Second {
		t.Errorf("skipped %q, err %v, settle %v", skipped, err, c.Settle)
	}
	if _, err := newConfig().apply([]optionList{{"secret_key=x", "test"}}, true); err == nil {
		t.Error("a credential was skipped in silence")
	}
}

func TestJoinedOptionIsReadBack(t *testing.T) {
	for _, value := range []string{`/a,b`, `/a\,b`, `/a "b"`, `/a\`, `=`, `/x=y`} {
		words := splitOptions(joinOption("cache_dir", value))
		if len(words) != 1 || words[0].value != value {
			t.Errorf("%q came back as %+v", value, words)
		}
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		text string
		want int64 // -1: an error
	}{
		{"0", 0}, {"1", 1}, {"1k", 1 << 10}, {"1K", 1 << 10}, {"2M", 2 << 20}, {"3G", 3 << 30}, {"4T", 4 << 40},
		{"1KiB", 1 << 10}, {"1Mib", 1 << 20}, {"", -1}, {"M", -1}, {"1MB", -1}, {"1 M", -1}, {"-1", -1}, {"1.5G", -1},
		{"9223372036854775807", 1<<63 - 1}, {"9223372036854775807K", -1}, {"8388607T", 8388607 << 40}, {"8388608T", -1},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.text)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q: %d, %v", tt.text, got, err)
		}
	}
}

// FuzzOptions: no input panics, and what is accepted lies in its range.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		"settle=3s,allow_other", `checkpoint=a\,b,ro`, "x-systemd.a,_netdev", `exclude="a,b`, "settle=9e99h", "-,=,\\", "noallow-other",
		"part_size=5G,upload_parallel=256", "passwd_file=x", "\xff=\xff",
	} {
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, options string, sloppy bool) {
		c := newConfig()
		if _, err := c.apply([]optionList{{options, "test"}}, sloppy); err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b") {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		if c.Settle < 100*time.Millisecond || c.Settle > time.Hour || c.PartSizeBytes < 5<<20 || c.PartSizeBytes > 5<<30 ||
			c.UploadParallel < 1 || c.UploadParallel > 256 {
			t.Errorf("out of range: %+v", c)
		}
		for _, w := range splitOptions(options) {
			if back := splitOptions(joinOption("k", w.value)); w.value != "" && back[0].value != w.value {
				t.Errorf("%q came back as %q", w.value, back[0].value)
			}
		}
	})
}
