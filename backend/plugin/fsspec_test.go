package plugin

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/storetest"
	tools "github.com/trainfs/trainfs/backend/storetest/child"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

const adapter = "../../scripts/trainfs-store-fsspec"

// debianPython is the one for which scripts/setup installs fsspec, whatever else is in PATH.
const debianPython = "/usr/bin/python3"

// packages are what make stores installs from PyPI, for what Debian has not.
var packages = []string{"fsspec==2026.9.0", "s3fs==2026.9.0", "pyarrow==19.0.1"}

// The adapter is held to the same promises as every store, over four kinds of file systems.
func TestAdapterOfFsspec(t *testing.T) {
	for _, kind := range []struct {
		name    string
		modules string // that its Python has to have
		where   func(t *testing.T) (path string, params map[string]string)
	}{
		{name: "local", modules: "fsspec", where: func(t *testing.T) (string, map[string]string) { return "local" + t.TempDir(), nil }},
		{name: "memory", modules: "fsspec", where: func(*testing.T) (string, map[string]string) { return "memory/" + rand.Text(), nil }},
		{name: "pyarrow", modules: "fsspec, pyarrow", where: func(t *testing.T) (string, map[string]string) {
			return "pyarrow/pyarrow.fs:LocalFileSystem" + t.TempDir(), nil
		}},
		{name: "s3fs", modules: "fsspec, s3fs"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			python := pythonWith(t, kind.modules)
			if kind.name == "s3fs" {
				kind.where = s3Path(t)
			}
			storetest.Run(t, func(t *testing.T) backend.Store {
				path, params := kind.where(t)
				s, err := Open(t.Context(), backend.Location{Scheme: "plugin", Bucket: "fsspec", Prefix: path, Params: params},
					Options{Program: python, Args: []string{adapter}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

func s3Path(t *testing.T) func(t *testing.T) (string, map[string]string) {
	server := versitygw.Start(t)
	server.Setenv(t)
	return func(*testing.T) (string, map[string]string) {
		return "s3/" + server.Bucket + "/runs/" + rand.Text(), map[string]string{"endpoint_url": server.Endpoint}
	}
}

// pythonWith finds a Python that can import modules. Where there is none the test is skipped, unless
// TRAINFS_TEST_FSSPEC says that it has to run, as in make stores.
func pythonWith(t *testing.T, modules string) string {
	t.Helper()
	var errs []error
	for _, find := range []func() (string, error){
		func() (string, error) { return debianPython, nil },
		func() (string, error) { return exec.LookPath("python3") },
		installed,
	} {
		python, err := find()
		if err == nil {
			err = tools.Run("", nil, python, "-c", "import "+modules)
		}
		if err == nil {
			return python
		}
		errs = append(errs, err)
	}
	if asked() {
		t.Fatalf("no Python has %s:\n%v", modules, errors.Join(errs...))
	}
	t.Skipf("no Python has %s (make stores installs them, and sets TRAINFS_TEST_FSSPEC)", modules)
	return ""
}

func asked() bool { return os.Getenv("TRAINFS_TEST_FSSPEC") != "" }

// installed gives a Python that has all packages, which are installed once.
func installed() (string, error) {
	if !asked() { // a normal test run does not take minutes more where make stores has run
		return "", errors.New("TRAINFS_TEST_FSSPEC is not set")
	}
	dir, err := tools.Tool("fsspec-"+strings.Join(packages, "-"), func(dir string) error {
		if err := tools.Run(dir, nil, debianPython, "-m", "venv", "--clear", "venv"); err != nil {
			return err
		}
		return tools.Run(dir, nil, filepath.Join(dir, "venv", "bin", "pip"), append([]string{"install", "-q", "--disable-pip-version-check"}, packages...)...)
	})
	return filepath.Join(dir, "venv", "bin", "python3"), err
}
