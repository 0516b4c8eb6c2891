package fusefs

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// An open does not wait for another's read, as it would if it dropped the pages.
func TestOpenDoesNotWaitForTheReadsOfOthers(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	p, release, waiting := filepath.Join(mnt, "f"), make(chan struct{}), make(chan struct{}, 100)
	f.fetch(t, "f", content("f", 1<<20), func(context.Context, int64, int) error {
		waiting <- struct{}{}
		<-release
		return nil
	})
	cat := exec.Command("cat", p)
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	<-waiting
	second := exec.Command("sh", "-c", `exec 3<"$1"`, "sh", p)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- second.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
		close(release)
	case <-time.After(5 * time.Second):
		t.Error("the second open hangs")
		close(release)
		<-ended
	}
	if err := cat.Wait(); err != nil {
		t.Error(err)
	}
}

func TestReaderThatGivesUpReturnsAndCancels(t *testing.T) {
	for _, c := range []struct {
		name, script string
		sig          syscall.Signal
	}{
		{"killed", `exec cat "$1"`, syscall.SIGKILL},
		{"interrupted", `exec cat "$1"`, syscall.SIGINT},
		{"direct", `exec dd if="$1" of=/dev/null bs=1M iflag=direct`, syscall.SIGINT},
		{"closed", `exec head -c 10000 "$1"`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			mnt, s := testMount(t, f)
			entered, cancelled := make(chan struct{}, 100), make(chan error, 100)
			f.fetch(t, "f", content("f", 64<<20), func(ctx context.Context, off int64, size int) error {
				if off < 1<<20 && c.sig == 0 {
					return nil
				}
				entered <- struct{}{}
				select {
				case <-ctx.Done():
				case <-time.After(30 * time.Second):
				}
				cancelled <- ctx.Err()
				return ctx.Err()
			})
			cmd := exec.Command("sh", "-c", c.script, "sh", filepath.Join(mnt, "f"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.sig != 0 {
				<-entered
				if err := cmd.Process.Signal(c.sig); err != nil {
					t.Fatal(err)
				}
				if err := <-cancelled; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
			_ = cmd.Wait()
			eventually(t, "released", func() bool { through, cached := s.handles.open(); return through+cached == 0 })
			close(cancelled)
			for err := range cancelled {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// What one reader gave up, another who waits for the same pages asks for again.
func TestReaderThatGivesUpDoesNotFailOthers(t *testing.T) {
	f := &fake{}
	mnt, s := testMount(t, f)
	p, data := filepath.Join(mnt, "f"), content("f", 4<<20)
	release, waiting := make(chan struct{}), make(chan struct{}, 1000)
	f.fetch(t, "f", data, func(ctx context.Context, _ int64, _ int) error {
		waiting <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	first := exec.Command("cat", p)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-waiting
	second := exec.Command("cat", p)
	var got bytes.Buffer
	second.Stdout = &got
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are open", func() bool { _, cached := s.handles.open(); return cached == 2 })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	eventually(t, "one is released", func() bool { _, cached := s.handles.open(); return cached == 1 })
	close(release)
	if err := second.Wait(); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}
