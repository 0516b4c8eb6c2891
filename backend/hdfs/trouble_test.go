package hdfs_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/hdfs"
	"github.com/trainfs/trainfs/backend/storetest/child"
	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

func contentOf(s string) backend.Content {
	return backend.Content{R: strings.NewReader(s), Size: int64(len(s)), CRC32C: crc32c.Checksum([]byte(s))}
}

// tryOpen opens a storage path that is not expected to open.
func tryOpen(t *testing.T, url string, limit time.Duration) error {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := hdfs.Open(t.Context(), loc, hdfs.Options{CheckTimeout: limit})
	if err == nil {
		s.Close()
	}
	return err
}

func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v; want %v that says %q", err, kind, text)
	}
}

func TestNobodyAnswers(t *testing.T) {
	wantError(t, tryOpen(t, "hdfs://"+child.FreeAddr(t)+"/p", time.Minute), backend.ErrUnreachable, "wrong host or port")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	start := time.Now()
	wantError(t, tryOpen(t, "hdfs://"+silent.Addr().String()+"/p", time.Second), backend.ErrUnreachable, "no name node answers")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("gave up after %s, not after a second", took)
	}
}

func TestNoNameNodeAndNoConfiguration(t *testing.T) {
	t.Setenv("HADOOP_CONF_DIR", "")
	t.Setenv("HADOOP_HOME", "")
	wantError(t, tryOpen(t, "hdfs:///p", time.Second), backend.ErrConfig, "HADOOP_CONF_DIR")
}

func TestAClusterThatRefuses(t *testing.T) {
	cluster := minihdfs.Start(t, "dfs.permissions.enabled=true")
	root := "runs/" + rand.Text()
	s := open(t, cluster.URL(root))
	defer s.Close()

	t.Run("another user", func(t *testing.T) {
		loc, err := backend.ParseLocation("hdfs://nobody@" + cluster.Address + "/" + root)
		if err != nil {
			t.Fatal(err)
		}
		stranger, err := hdfs.Open(t.Context(), loc, hdfs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		_, err = stranger.Put(t.Context(), "a", contentOf("x"), backend.PutOptions{})
		wantError(t, err, backend.ErrDenied, "denied")
		wantError(t, tryOpen(t, "hdfs://nobody@"+cluster.Address+"/"+root+"/below", time.Minute), backend.ErrDenied, `user "nobody"`)
	})
	t.Run("a file is where the directory should be", func(t *testing.T) {
		if _, err := s.Put(t.Context(), "file", contentOf("x"), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		wantError(t, tryOpen(t, cluster.URL(root+"/file"), time.Minute), backend.ErrNoBucket, "no directory")
	})
	t.Run("safe mode", func(t *testing.T) {
		cluster.Admin(t, "-safemode", "enter")
		_, err := s.Put(t.Context(), "a", contentOf("x"), backend.PutOptions{})
		if err == nil || backend.Permanent(err) || !strings.Contains(err.Error(), "SafeMode") || strings.Contains(err.Error(), "\n") {
			t.Errorf("a put in safe mode: %v; it may heal, and says so in one line", err)
		}
		wantError(t, tryOpen(t, cluster.URL(root+"/new"), time.Minute), backend.ErrUnreachable, "safe mode")
		cluster.Admin(t, "-safemode", "leave")
		if _, err := s.Put(t.Context(), "a", contentOf("x"), backend.PutOptions{}); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
	t.Run("quota", func(t *testing.T) {
		cluster.Admin(t, "-setQuota", "1", "/"+root)
		_, err := s.Put(t.Context(), "b", contentOf("x"), backend.PutOptions{})
		if err == nil || backend.Permanent(err) || !strings.Contains(err.Error(), "quota") {
			t.Errorf("a put over the quota: %v; it may heal, and names the quota", err)
		}
		cluster.Admin(t, "-clrQuota", "/"+root)
		if _, err := s.Put(t.Context(), "b", contentOf("x"), backend.PutOptions{}); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

// A name node that is restarted, or a line that breaks, is found by the next call or the
// one after it.
func TestStoreGoesOnAfterTheClusterWasAway(t *testing.T) {
	cluster := minihdfs.Start(t)
	s := open(t, cluster.URL("runs/"+rand.Text()))
	defer s.Close()
	put := func(ctx context.Context) error {
		_, err := s.Put(ctx, "a", contentOf("x"), backend.PutOptions{})
		return err
	}
	if err := put(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.Stop()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := put(ctx); err == nil || backend.Permanent(err) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a cluster: %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a put without a cluster took %s", took)
	}
	cluster.Restart()
	for {
		err := put(t.Context())
		if err == nil {
			return
		}
		if t.Context().Err() != nil || time.Since(start) > 2*time.Minute {
			t.Fatalf("not again: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// What another tool writes over an object does not keep the attributes and the checksum of
// what was there.
func TestForeignWriteDropsTheNote(t *testing.T) {
	cluster := minihdfs.Start(t)
	root := "runs/" + rand.Text()
	s := open(t, cluster.URL(root))
	defer s.Close()
	attr := backend.Attr{Mode: 0o640, UID: 7, GID: 8, Mtime: time.Unix(1_700_000_000, 5)}
	before, err := s.Put(t.Context(), "a", contentOf("content"), backend.PutOptions{Attr: attr})
	if err != nil || !before.HasCRC32C {
		t.Fatalf("%+v, %v", before, err)
	}
	appendTo(t, cluster, "/"+root+"/a", " and more")
	after, err := s.Head(t.Context(), "a")
	if err != nil || after.HasCRC32C || !after.Attr.IsZero() || after.ETag == before.ETag || after.Size != 16 {
		t.Errorf("%+v, %v", after, err)
	}
}

// A client that was killed leaves files in the staging directory, one of them not closed.
func TestWhatADeadClientLeftIsSweptOnceItIsOld(t *testing.T) {
	cluster := minihdfs.Start(t)
	root := "runs/" + rand.Text()
	s := open(t, cluster.URL(root))
	defer s.Close()
	st, err := s.BeginStage(t.Context(), "key", 10, 10, backend.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	staging := "/" + root + "/.trainfs/v1/staging/"
	leaveBehind(t, cluster, staging, "A.tmp", "B.lock", "C")
	hdfs.Sweep(t.Context(), s, time.Hour)
	if got := namesIn(t, cluster, staging); len(got) != 4 {
		t.Errorf("swept while somebody may be at work: %q is left", got)
	}
	hdfs.Sweep(t.Context(), s, -time.Hour)
	if got := namesIn(t, cluster, staging); len(got) != 1 || got[0] != st.ID {
		t.Errorf("%q is left, want %q", got, st.ID)
	}
}
