package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Address is where to listen: a TCP address, or the path of a Unix socket.
type Address struct {
	Network string // tcp, unix
	Text    string // host:port, or an absolute path
}

func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Text
	}
	return "http://" + a.Text
}

// Local tells that only this machine can connect.
func (a Address) Local() bool {
	if a.Network == "unix" {
		return true
	}
	at, err := netip.ParseAddrPort(a.Text)
	return err == nil && at.Addr().IsLoopback()
}

// ParseAddress reads 9464 (on loopback), 127.0.0.1:9464, [::1]:9464, localhost:9464,
// unix:/path or /path. Other hosts' addresses have to be written as numbers, so that nobody
// opens a port to a network by a name that leads somewhere else.
func ParseAddress(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok || strings.HasPrefix(text, "/") {
		if !filepath.IsAbs(path) {
			return Address{}, fmt.Errorf("the socket's path %q is not absolute", path)
		}
		return Address{"unix", filepath.Clean(path)}, nil
	}
	if !strings.Contains(text, ":") {
		text = "127.0.0.1:" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return Address{}, fmt.Errorf("%q is not an address: write a port, 127.0.0.1:PORT or unix:/path", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("%q is not a port: from 0 (any free one) to 65535", port)
	} else {
		port = strconv.FormatUint(n, 10)
	}
	return Address{"tcp", net.JoinHostPort(host, port)}, nil
}

// listen binds the address. A socket that nobody answers on was left by a dead daemon; what
// else is at its path stays.
func (a Address) listen() (net.Listener, error) {
	if a.Network == "unix" {
		if err := removeDeadSocket(a.Text); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen(a.Network, a.Text)
	if err != nil {
		return nil, err
	}
	if a.Network == "unix" {
		if err := os.Chmod(a.Text, 0o660); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func removeDeadSocket(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return fmt.Errorf("another program listens on %s", path)
	}
	return os.Remove(path)
}
