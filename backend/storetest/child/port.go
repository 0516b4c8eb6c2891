package child

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The ports of servers lie below those that the kernel gives to clients. Between the moment
// at which a port is found free and that at which the server takes it, somebody else may:
// on a busy machine a test then talked to another test's server.
const (
	firstPort = 18_000
	ports     = 12_000
)

// FreeAddr is an address of the loopback interface where nobody listens. No other test
// of this user gets it for as long as this one runs: a locked file stands for it.
func FreeAddr(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("trainfs-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for try := range 200 {
		port := firstPort + rand.IntN(ports)
		lock, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			lock.Close()
			if try > 100 {
				t.Logf("port %d: %v", port, err)
			}
			continue
		}
		l.Close()
		t.Cleanup(func() { lock.Close() })
		return l.Addr().String()
	}
	t.Fatal("no port of the loopback interface is free")
	return ""
}
