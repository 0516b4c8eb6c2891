package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// rig is a session over fakes, with a real control socket.
type rig struct {
	engine *fakeEngine
	fs     *fakeFS
	s      *session
	client *controlClient
	closed bool
	stop   context.CancelFunc
	ended  chan error
}

// startRig runs a session and returns once it is ready.
func startRig(t *testing.T, prepare func(*rig)) *rig {
	t.Helper()
	r := &rig{engine: newFakeEngine(), fs: newFakeFS(), ended: make(chan error, 1)}
	c := &Config{CacheDir: t.TempDir(), MountPoint: "/mnt/test", Source: "s3://b", MountTimeout: time.Minute, StopTimeout: time.Minute}
	r.s = &session{cfg: c, log: quietLog(), level: newLogLevel("info", false), parts: &parts{
		engine: r.engine,
		mount:  func() (fileSystem, error) { return r.fs, nil },
		close:  func() error { r.closed = true; return nil },
	}}
	r.client = newControlClient(c.CacheDir)
	if prepare != nil {
		prepare(r)
	}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	ready := make(chan struct{})
	go func() { r.ended <- r.s.run(ctx, func() error { close(ready); return nil }) }()
	select {
	case <-ready:
	case err := <-r.ended:
		r.ended <- err
	}
	t.Cleanup(stop)
	return r
}

// end waits for the session's end and checks that nothing of it is left.
func (r *rig) end(t *testing.T) error {
	t.Helper()
	err := <-r.ended
	if !r.closed {
		t.Error("the cache was not closed")
	}
	if r.engine.running {
		t.Error("the engine runs on")
	}
	if _, err := os.Lstat(filepath.Join(r.s.cfg.CacheDir, controlSocket)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the control socket is still there")
	}
	return err
}

func TestSignalUnmountsAndWaitsForUploads(t *testing.T) {
	r := startRig(t, nil)
	r.stop()
	close(r.engine.committed)
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if want := []string{"unmount"}; !reflect.DeepEqual(r.fs.log, want) {
		t.Errorf("%q", r.fs.log)
	}
	if want := [][]string{everything}; !reflect.DeepEqual(r.engine.waits, want) {
		t.Errorf("%q", r.engine.waits)
	}
}

func TestSignalDetachesABusyMount(t *testing.T) {
	r := startRig(t, func(r *rig) { r.fs.busy = true; close(r.engine.committed) })
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if want := []string{"unmount", "unmount lazily", "abort"}; !reflect.DeepEqual(r.fs.log, want) {
		t.Errorf("%q", r.fs.log)
	}
}

func TestHeldMountEndsWithoutClosingTheCacheUnderIt(t *testing.T) {
	r := startRig(t, func(r *rig) { r.fs.busy, r.fs.deaf = true, true; close(r.engine.committed) })
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	if r.closed {
		t.Error("closed while requests may come")
	}
	r.fs.vanish()
}

func TestStopDoesNotOutlastStopTimeout(t *testing.T) {
	r := startRig(t, func(r *rig) { r.s.cfg.StopTimeout = time.Millisecond })
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestStopDoesNotWaitForWhatNeedsHelp(t *testing.T) {
	r := startRig(t, func(r *rig) {
		r.engine.report = cache.Progress{Units: 1, Torn: []string{"a"}, Stuck: []string{"b: access denied"}}
	})
	r.stop()
	if err := r.end(t); err != nil { // else it takes stop_timeout, and the test its own
		t.Error(err)
	}
}

func TestUnmountByOthersEndsTheSession(t *testing.T) {
	r := startRig(t, func(r *rig) { close(r.engine.committed) })
	r.fs.vanish()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if len(r.fs.log) != 0 {
		t.Errorf("%q", r.fs.log)
	}
}

func TestDeadUploaderEndsTheSessionWithItsError(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.runErr = errTest; close(r.engine.committed) })
	if err := r.end(t); !errors.Is(err, errTest) {
		t.Errorf("%v", err)
	}
}

func TestMountThatDoesNotAnswerIsTakenAway(t *testing.T) {
	r := startRig(t, func(r *rig) { r.fs.answerErr = errTest })
	if err := r.end(t); !errors.Is(err, errTest) {
		t.Errorf("%v", err)
	}
	if want := []string{"unmount"}; !reflect.DeepEqual(r.fs.log, want) {
		t.Errorf("%q", r.fs.log)
	}
}

func TestMountThatFailsLeavesNothing(t *testing.T) {
	r := startRig(t, func(r *rig) {
		r.s.parts.mount = func() (fileSystem, error) { return nil, errTest }
	})
	if err := r.end(t); !errors.Is(err, errTest) {
		t.Errorf("%v", err)
	}
}

func TestShutdownSeesUploadsThroughAfterUnmounting(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.report = cache.Progress{Units: 1, BytesLeft: 7} })
	last, err := r.client.shutdown(t.Context(), true, func(p cache.Progress) {
		if p.Units == 1 {
			select {
			case <-r.fs.gone:
			default:
				t.Error("still mounted")
			}
			close(r.engine.committed)
		}
	})
	if err != nil || !last.Done {
		t.Errorf("%+v, %v", last, err)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestShutdownOfABusyMountChangesNothing(t *testing.T) {
	r := startRig(t, func(r *rig) { r.fs.busy = true; close(r.engine.committed) })
	if _, err := r.client.shutdown(t.Context(), true, func(cache.Progress) {}); !errors.Is(err, errBusy) {
		t.Errorf("%v", err)
	}
	if _, err := r.client.status(t.Context()); err != nil {
		t.Errorf("no longer served: %v", err)
	}
	r.stop()
	r.end(t)
}

func TestShutdownWithoutWaitingEndsAtOnce(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.report = cache.Progress{Units: 5} }) // and none is ever committed
	last, err := r.client.shutdown(t.Context(), false, func(cache.Progress) {})
	if err != nil || last.Units != 5 {
		t.Errorf("%+v, %v", last, err)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestVanishedClientDoesNotKeepTheDaemon(t *testing.T) {
	r := startRig(t, func(r *rig) { r.s.cfg.StopTimeout = time.Millisecond })
	ctx, leave := context.WithCancel(t.Context())
	_, err := r.client.shutdown(ctx, true, func(cache.Progress) { leave() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestSignalEndsAWaitWithAReason(t *testing.T) {
	r := startRig(t, func(r *rig) { r.s.cfg.StopTimeout = time.Millisecond })
	_, err := r.client.wait(t.Context(), everything, func(cache.Progress) { r.stop() })
	if err == nil || err.Error() != errStopping.Error() {
		t.Errorf("%v", err)
	}
	r.end(t)
}

func TestTornUnitsDoNotKeepAMountFromEnding(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.report = cache.Progress{Torn: []string{"exp/checkpoint_1"}} })
	last, err := r.client.shutdown(t.Context(), true, func(cache.Progress) {})
	if err != nil || len(last.Torn) != 1 {
		t.Errorf("%+v, %v", last, err)
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}
