// Package azurite runs Azurite for tests, Microsoft's own emulator of Azure Blob Storage,
// in memory, as a child process on the loopback interface. It needs Node.js and npm.
//
// It is installed by the first test that runs with TRAINFS_TEST_AZURE set, as make stores
// does; before that, tests that want it are skipped without.
//
// azurite imports backend/storetest/child.
package azurite

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// version is the last one that runs on the Node.js of Debian 12.
const version = "3.35.0"

// Server is a running server with one account and one empty container.
type Server struct {
	*child.Process
	Address   string // 127.0.0.1:port
	Account   string
	Key       string
	Container string
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := install()
	if err != nil && !asked() {
		t.Skipf("no Azurite: %v (make stores installs it, and fails without)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 64)
	rand.Read(key)
	s := &Server{Address: child.FreeAddr(t), Account: "trainfs", Key: base64.StdEncoding.EncodeToString(key), Container: "container"}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	s.Process = child.Start(t, child.Spec{
		Name: "Azurite", Program: "node", Dir: t.TempDir(),
		Args: []string{program, "--blobHost", host, "--blobPort", port, "--inMemoryPersistence", "--silent",
			"--skipApiVersionCheck", "--disableTelemetry", "--loose"},
		Env:      []string{"AZURITE_ACCOUNTS=" + s.Account + ":" + s.Key},
		Patience: time.Minute,
		Ready: func() bool {
			answer, err := client.Get("http://" + s.Address + "/")
			if err == nil {
				answer.Body.Close()
			}
			return err == nil
		},
	})
	s.makeContainer(t)
	return s
}

// makeContainer signs its one request by hand: only backend/azure knows Microsoft's SDK.
func (s *Server) makeContainer(t testing.TB) {
	t.Helper()
	date, api := time.Now().UTC().Format(http.TimeFormat), "2021-12-02"
	text := "PUT" + strings.Repeat("\n", 12) + "x-ms-date:" + date + "\nx-ms-version:" + api +
		"\n/" + s.Account + "/" + s.Account + "/" + s.Container + "\nrestype:container"
	key, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.Address+"/"+s.Account+"/"+s.Container+"?restype=container", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-ms-date", date)
	r.Header.Set("x-ms-version", api)
	r.Header.Set("Authorization", "SharedKey "+s.Account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("make container: %s", answer.Status)
	}
}

// URL is a storage path in the container, as pyarrow writes it.
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("abfs://%s@%s/%s/%s?enable_tls=false", s.Account, s.Address, s.Container, prefix)
}

// Env is what a client needs in its environment.
func (s *Server) Env() []string {
	return []string{"AZURE_STORAGE_KEY=" + s.Key, "AZURE_STORAGE_ACCOUNT=", "AZURE_STORAGE_CONNECTION_STRING=", "AZURE_STORAGE_SAS_TOKEN="}
}

// Setenv makes the test itself such a client.
func (s *Server) Setenv(t testing.TB) {
	for _, kv := range s.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
}

func asked() bool { return os.Getenv("TRAINFS_TEST_AZURE") != "" }

// install gives the path of the program.
func install() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("no %s: install nodejs and npm (scripts/setup --azure does)", program)
		}
	}
	dir, err := child.Tool("azurite-"+version, func(dir string) error {
		if !asked() {
			return errors.New("TRAINFS_TEST_AZURE is not set")
		}
		return child.Run(dir, nil, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "azurite@"+version)
	})
	return filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js"), err
}
