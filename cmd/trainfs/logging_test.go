package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogFileBeginsWithWhatCameBeforeIt(t *testing.T) {
	var stderr bytes.Buffer
	sink := newLogSink(&stderr)
	defer sink.Close()
	log := newLogger(sink, slog.LevelInfo, "text")
	log.Info("early")
	path := filepath.Join(t.TempDir(), "log")
	if err := sink.openFile(path); err != nil {
		t.Fatal(err)
	}
	log.Info("late")
	if text := readFile(t, path); !strings.Contains(text, "early") || !strings.Contains(text, "late") {
		t.Errorf("%q", text)
	}
	if strings.Contains(stderr.String(), "late") {
		t.Error("still on stderr")
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
}

func TestHangupOpensTheLogAnew(t *testing.T) {
	sink := newLogSink(&bytes.Buffer{})
	defer sink.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := sink.openFile(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	stop := reopenOnHangup(sink, func(msg string, args ...any) { t.Error(msg, args) })
	if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for { // the test's own deadline ends this
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	stop()
	newLogger(sink, slog.LevelInfo, "json").Info("after")
	if text := readFile(t, path); !strings.Contains(text, `"msg":"after"`) {
		t.Errorf("%q", text)
	}
}

func TestLogThatCannotBeReopenedStaysWhereItIs(t *testing.T) {
	sink := newLogSink(&bytes.Buffer{})
	defer sink.Close()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sink.openFile(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := sink.reopen(); err == nil {
		t.Error("no error")
	}
	newLogger(sink, slog.LevelInfo, "text").Info("after")
	if text := readFile(t, filepath.Join(dir+"-away", "log")); !strings.Contains(text, "after") {
		t.Errorf("%q", text)
	}
}

func TestLogLevels(t *testing.T) {
	for _, tt := range []struct {
		level string
		debug bool
		want  string
	}{{"error", false, "E"}, {"warn", false, "WE"}, {"info", false, "IWE"}, {"debug", false, "DIWE"}, {"error", true, "DIWE"}} {
		var out bytes.Buffer
		log := newLogger(&out, newLogLevel(tt.level, tt.debug), "text")
		log.Debug("D")
		log.Info("I")
		log.Warn("W")
		log.Error("E")
		got := ""
		for _, r := range "DIWE" {
			if strings.Contains(out.String(), "msg="+string(r)) {
				got += string(r)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s", tt.level, got)
		}
	}
}
