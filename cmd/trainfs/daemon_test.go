package main

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDaemonReportsBeforeMountReturns(t *testing.T) {
	warnings, err := startDaemon(t.Context(), []string{"test-daemon", "ready"}, time.Minute)
	if err != nil || !reflect.DeepEqual(warnings, []string{"mind the gap"}) {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestDaemonsReasonIsPassedOn(t *testing.T) {
	_, err := startDaemon(t.Context(), []string{"test-daemon", "fails"}, time.Minute)
	if err == nil || err.Error() != "no such bucket" || exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
}

func TestDyingDaemonsLastWordsAreShown(t *testing.T) {
	_, err := startDaemon(t.Context(), []string{"test-daemon", "dies"}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("%v", err)
	}
}

func TestHangingDaemonIsEnded(t *testing.T) {
	_, err := startDaemon(t.Context(), []string{"test-daemon", "hangs"}, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "mount_timeout") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startDaemon(ctx, []string{"test-daemon", "hangs"}, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
