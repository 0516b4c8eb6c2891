package file

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// A sidecar, <id>.parts, tells what is known of a stage, in lines of JSON that are only
// ever appended:
//
//	{"version":1,"stage":{"key":"exp/model.pt","id":"…","size":40,"part_size":16,…}}
//	{"n":2}                                              part 2 is being written
//	{"n":2,"size":16,"etag":"1f2e3d4c","crc32c":523123}  part 2 is there, and durable
//
// The last line of a part counts. A line that does not parse was cut off by a crash, and
// no caller was told of it.
type header struct {
	Version int           `json:"version"`
	Stage   backend.Stage `json:"stage"`
}

const sidecarVersion = 1

// maxSidecarBytes bounds what is read of one: each of 10,000 parts put several times.
const maxSidecarBytes = 32 << 20

// writeHeader makes the sidecar of a stage, in one step.
func writeHeader(dir *os.File, st backend.Stage) error {
	temp := st.ID + tempSuffix
	f, err := openAt(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = appendLine(f, header{Version: sidecarVersion, Stage: st})
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), st.ID+partsSuffix)
	}
	if err != nil {
		unix.Unlinkat(int(dir.Fd()), temp, 0)
	}
	return err
}

// openSidecar opens one for appendLine.
func openSidecar(dir *os.File, id string) (*os.File, error) {
	return openAt(dir, id+partsSuffix, unix.O_WRONLY|unix.O_APPEND, 0)
}

// appendLine writes a line in one call. It begins with a line feed too, in case that a
// crash has left half a line before it.
func appendLine(f *os.File, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'}))
	return err
}

func readSidecar(dir *os.File, id string) (backend.Stage, []backend.Part, error) {
	f, err := openAt(dir, id+partsSuffix, unix.O_RDONLY, 0)
	if err != nil {
		return backend.Stage{}, nil, err
	}
	defer f.Close()
	return parseSidecar(io.LimitReader(f, maxSidecarBytes))
}

func parseSidecar(r io.Reader) (backend.Stage, []backend.Part, error) {
	var (
		h     header
		parts = make(map[int]backend.Part)
		lines = bufio.NewScanner(r)
	)
	for lines.Scan() {
		line := lines.Bytes()
		if h.Version == 0 {
			if json.Unmarshal(line, &h) == nil && h.Version != sidecarVersion && h.Version != 0 {
				return h.Stage, nil, fmt.Errorf("stage of version %d, this trainfs knows %d", h.Version, sidecarVersion)
			}
			continue
		}
		var p backend.Part
		switch err := json.Unmarshal(line, &p); {
		case err != nil || p.Number < 1:
		case p.ETag == "":
			delete(parts, p.Number)
		default:
			parts[p.Number] = p
		}
	}
	if err := lines.Err(); err != nil {
		return h.Stage, nil, fmt.Errorf("read stage: %w", err)
	}
	if h.Version == 0 {
		return h.Stage, nil, errors.New("stage without a header")
	}
	sorted := make([]backend.Part, 0, len(parts))
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		sorted = append(sorted, parts[n])
	}
	return h.Stage, sorted, nil
}
