package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mountFile is CACHE/mount.json: how the cache directory was mounted last. With it, trainfs
// flush knows where to and by which rules to upload. Options hold no credentials, nor do
// storage paths.
type mountFile struct {
	Format  int      `json:"format"`
	Source  string   `json:"source"`  // as the user wrote it
	Options []string `json:"options"` // NAME=VALUE of every option that was given, wherever
}

const (
	mountFileName   = "mount.json"
	mountFileFormat = 1
	mountFileMost   = 1 << 20 // bytes
)

func saveMountFile(c *Config) error {
	var given []string
	for _, name := range slices.Sorted(maps.Keys(c.origins)) {
		for _, value := range c.origins[name].text {
			given = append(given, joinOption(name, value))
		}
	}
	b, err := json.MarshalIndent(mountFile{mountFileFormat, c.Source, given}, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(c.CacheDir, mountFileName)
	if err := os.WriteFile(path+".tmp", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// loadMountFile gives a zero mountFile if there is none: the directory was mounted by an
// older trainfs.
func loadMountFile(dir string) (m mountFile, err error) {
	path := filepath.Join(dir, mountFileName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil && len(b) > mountFileMost {
		err = errors.New("too long")
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	switch {
	case err != nil:
		return m, fmt.Errorf("%s is damaged (%w): move it away, and give the options of the mount with -o", path, err)
	case m.Format > mountFileFormat:
		return m, fmt.Errorf("%s was written by a newer trainfs (format %d, this one knows %d)", path, m.Format, mountFileFormat)
	}
	return m, nil
}

// forFlush are the options but for those that are about the mount itself.
func (m *mountFile) forFlush() []string {
	var out []string
	for _, list := range m.Options {
		for _, w := range splitOptions(list) {
			switch name := w.name(); {
			case name == "ro", name == "rw", name == "metrics", strings.HasPrefix(name, "cache_dir"), strings.HasPrefix(name, "log_"):
			case w.hasValue:
				out = append(out, joinOption(w.key, w.value))
			default:
				out = append(out, w.key)
			}
		}
	}
	return out
}
