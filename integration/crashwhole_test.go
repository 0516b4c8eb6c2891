package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// inBurst is what may be put in the publishing burst itself.
const inBurst = 1 * mib

// bulk is what a manifest says of a file, and what a store has.
type bulk struct {
	size int64
	crc  uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkWhole is P3 in the raw store, as a kill has left it: once a manifest is there, and only
// then may objects of its checkpoint appear, the bytes of every large file that it names are in
// the store, be it under another name or not visible yet.
func (c *crash) checkWhole() {
	c.t.Helper()
	var wrong []string
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var err error
		wrong, err = c.s.manifestsAhead()
		must(c.t, err)
		if len(wrong) == 0 || time.Now().After(end) { // the server may still be at work on a last request
			break
		}
	}
	for _, text := range wrong {
		c.broken("%s", text)
	}
}

// manifestsAhead names the files that a manifest names and whose bytes are nowhere.
func (s *store) manifestsAhead() (wrong []string, err error) {
	objects, err := s.list("")
	if err != nil {
		return nil, err
	}
	there, deleting, manifests := map[bulk]bool{}, map[string]bool{}, map[string]string{}
	for key, obj := range objects {
		unit, internal := strings.CutPrefix(key, ".trainfs/v1/units/")
		unit = unit[:strings.LastIndex(unit, "/")+1]
		switch {
		case !internal && obj.Size <= inBurst, strings.HasSuffix(key, "/"):
			continue
		}
		body, ok := s.get(key)
		switch {
		case !ok: // gone since the listing
		case !internal:
			there[bulk{int64(len(body)), crc32.Checksum([]byte(body), castagnoli)}] = true
		case strings.HasSuffix(key, ".json"):
			manifests[key] = body
		case strings.Contains(body, `"deleting"`):
			deleting[unit] = true
		}
	}
	staged, err := s.stagedBytes()
	if err != nil {
		return nil, err
	}
	for key, text := range manifests {
		var m struct {
			Unit  string
			Files []struct {
				Path   string
				Size   int64
				CRC32C uint32
			}
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, f := range m.Files {
			path := m.Unit + "/" + f.Path
			if f.Size > inBurst && !there[bulk{f.Size, f.CRC32C}] && !slices.Contains(staged[path], f.Size) && !deleting[m.Unit+"/"] {
				wrong = append(wrong, fmt.Sprintf("P3: %s names %s, and its %d bytes are not all in the store", key, path, f.Size))
			}
		}
	}
	return wrong, nil
}

// stagedBytes is how many bytes there are of each unfinished upload.
func (s *store) stagedBytes() (map[string][]int64, error) {
	out := map[string][]int64{}
	list, err := s.raw.ListStages(context.Background(), "")
	if err != nil {
		return nil, err
	}
	for _, stage := range list {
		parts, err := s.raw.StagedParts(context.Background(), stage)
		if errors.Is(err, backend.ErrNoStage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var bytes int64
		for _, p := range parts {
			bytes += p.Size
		}
		out[stage.Key] = append(out[stage.Key], bytes)
	}
	return out, nil
}
