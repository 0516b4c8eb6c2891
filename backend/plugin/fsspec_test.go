package plugin

import (
	"crypto/rand"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/storetest"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

const adapter = "../../scripts/trainfs-store-fsspec"

// needAdapter skips where Python has no fsspec, unless TRAINFS_TEST_FSSPEC says that it has to.
func needAdapter(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("python3", "-c", "import fsspec, pyarrow, s3fs").CombinedOutput(); err != nil {
		if os.Getenv("TRAINFS_TEST_FSSPEC") != "" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skip("python3 has no fsspec, pyarrow and s3fs: see docs/plugins.md")
	}
}

// The adapter is held to the same promises as every store, over four kinds of file systems.
func TestAdapterOfFsspec(t *testing.T) {
	needAdapter(t)
	for name, where := range map[string]func(t *testing.T) (path string, params map[string]string){
		"local":  func(t *testing.T) (string, map[string]string) { return "local" + t.TempDir(), nil },
		"memory": func(*testing.T) (string, map[string]string) { return "memory/" + rand.Text(), nil },
		"pyarrow": func(t *testing.T) (string, map[string]string) {
			return "pyarrow/pyarrow.fs:LocalFileSystem" + t.TempDir(), nil
		},
		"s3": s3Path(t),
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) backend.Store {
				path, params := where(t)
				s, err := Open(t.Context(), backend.Location{Scheme: "plugin", Bucket: "fsspec", Prefix: path, Params: params},
					Options{Program: adapter, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
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
