package faulty_test

import (
	"context"
	"errors"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
)

var errBoom = errors.New("boom")

func put(s backend.Store, key string) error {
	_, err := s.Put(context.Background(), key, backend.Content{}, backend.PutOptions{})
	return err
}

func exists(s backend.Store, key string) bool {
	_, err := s.Head(context.Background(), key)
	return err == nil
}

func TestNthCallFailsAndDoesNothing(t *testing.T) {
	s := faulty.New(mem.New())
	s.Fail(backend.OpPut, 2, errBoom)
	got := []error{put(s, "a"), put(s, "b"), put(s, "c")}
	for i, want := range []error{nil, errBoom, nil} {
		if !errors.Is(got[i], want) {
			t.Errorf("put %d: %v, want %v", i+1, got[i], want)
		}
	}
	if exists(s, "b") {
		t.Error("the failed put did its work")
	}
	if n := s.Calls(backend.OpPut); n != 3 {
		t.Errorf("%d puts counted, want 3", n)
	}
}

func TestFailAfterDoesTheWork(t *testing.T) {
	s := faulty.New(mem.New())
	s.FailAfter(faulty.Any, 1, errBoom)
	if err := put(s, "a"); !errors.Is(err, errBoom) {
		t.Fatalf("put: %v", err)
	}
	if !exists(s, "a") {
		t.Error("the put did not do its work")
	}
}

func TestOfflineFailsOrHangsUntilOnline(t *testing.T) {
	s := faulty.New(mem.New())
	s.Offline(false)
	if err := put(s, "a"); !errors.Is(err, faulty.ErrOffline) || backend.Permanent(err) {
		t.Fatalf("offline put: %v", err)
	}
	s.Offline(true)
	done := make(chan error)
	go func() { done <- put(s, "a") }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Head(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("hanging head with its context ended: %v", err)
	}
	s.Online()
	if err := <-done; err != nil {
		t.Errorf("put after Online: %v", err)
	}
}

func TestHoldStopsBeforeTheWork(t *testing.T) {
	s := faulty.New(mem.New())
	h := s.Hold(backend.OpPut, 1)
	done := make(chan error)
	go func() { done <- put(s, "a") }()
	<-h.Reached()
	if exists(s, "a") {
		t.Error("the held put has done its work")
	}
	h.Release()
	if err := <-done; err != nil || !exists(s, "a") {
		t.Errorf("put after Release: %v", err)
	}
}
