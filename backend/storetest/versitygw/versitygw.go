// Package versitygw runs a real S3 server for tests: versitygw, over a temporary
// directory, on a port of its own.
//
// The server's program is built once for a user, into the user's cache directory, which
// takes Go and, the first time, the network. versitygw imports nothing of trainfs but child.
package versitygw

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// Server is a running server with one empty bucket.
type Server struct {
	Endpoint  string // http://127.0.0.1:port
	Bucket    string
	AccessKey string
	SecretKey string
	Dir       string // where the bucket's objects are files: Dir/Bucket/key

	t       testing.TB
	program string
	args    []string
	log     string
	process *os.Process
	exited  chan struct{}
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("build versitygw: %v", err)
	}
	addr := child.FreeAddr(t)
	s := &Server{
		Endpoint:  "http://" + addr,
		Bucket:    "bucket",
		AccessKey: "access-" + rand.Text()[:8],
		SecretKey: "secret-" + rand.Text(),
		Dir:       t.TempDir(),
		t:         t,
		program:   program,
		log:       filepath.Join(t.TempDir(), "versitygw.log"),
	}
	s.args = []string{"--port", addr, "--quiet", "--keep-alive", "posix"}
	if !keepsAttributes(s.Dir) {
		s.args = append(s.args, "--sidecar", t.TempDir())
	}
	s.args = append(s.args, s.Dir)
	if err := os.Mkdir(filepath.Join(s.Dir, s.Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// URL is a storage path in the bucket.
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint_override=%s", s.Bucket, prefix, s.Endpoint)
}

// Env is what a client needs in its environment.
func (s *Server) Env() []string { return environment(s.AccessKey, s.SecretKey) }

func environment(access, secret string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + access,
		"AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// Setenv makes the test itself such a client.
func (s *Server) Setenv(t testing.TB) {
	for _, kv := range s.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
}

// Stop kills the server, as a power cut would. It may be called more than once.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	s.process.Kill()
	<-s.exited
	s.process = nil
}

// Restart runs the server again, with the same address and contents, after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	started := make(chan error)
	s.exited = make(chan struct{})
	go func() {
		// The kernel kills the server with the thread that started it, so that none outlives
		// a test that crashed. The thread must live until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.exited)
		cmd, err := s.start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("start versitygw: %v", err)
	}
	s.awaitAnswer()
}

func (s *Server) start() (*exec.Cmd, error) {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.program, s.args...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.process = cmd.Process
	return cmd, nil
}

func (s *Server) awaitAnswer() {
	s.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			s.t.Fatalf("versitygw exited:\n%s", s.output())
		case <-time.After(20 * time.Millisecond):
		}
		if answer, err := client.Get(s.Endpoint); err == nil {
			answer.Body.Close()
			return
		}
	}
	s.t.Fatalf("versitygw does not answer:\n%s", s.output())
}

func (s *Server) output() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// keepsAttributes tells whether the server can keep what it knows of objects in extended
// attributes.
func keepsAttributes(dir string) bool {
	return unix.Setxattr(dir, "user.trainfs.test", []byte("1"), 0) == nil
}
