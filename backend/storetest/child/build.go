package child

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Tool gives a directory of the user's cache that build has filled once. Test programs of
// several packages come here at once: one builds, the others wait. The name has to change
// with what is built.
func Tool(name string, build func(dir string) error) (dir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "trainfs-test-tools", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	done := filepath.Join(dir, "built")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := build(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// Run runs a command of a build; its output is in the error.
func Run(dir string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(err, fmt.Errorf("%s %v:\n%s", name, args, out))
	}
	return nil
}

// GoProgram gives the path of the program that the module in source is of, and builds it
// if nobody has yet.
func GoProgram(name, source string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*"))
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, fmt.Errorf("no sources in %s", source))
	}
	sum := sha256.New()
	for _, file := range files { // sorted
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	dir, err := Tool(name+"-"+hex.EncodeToString(sum.Sum(nil)[:6]), func(dir string) error {
		// What this test run was told is not for that program. It is compiled in half the time
		// without optimizing, and without Google's gRPC (which other programs take no notice of).
		return Run(source, []string{"GOFLAGS=", "GOWORK=off"}, "go", "build", "-tags", "disable_grpc_modules",
			"-gcflags=all=-N -l", "-ldflags=-s -w", "-o", filepath.Join(dir, name), ".")
	})
	return filepath.Join(dir, name), err
}
