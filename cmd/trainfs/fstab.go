package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// fstabLine is a line of fstab(5) that mounts a trainfs.
type fstabLine struct {
	source, mountPoint, options string
	number                      int
}

// readFstab lists them; that there is no such file is none of them.
func readFstab(path string) ([]fstabLine, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []fstabLine
	scan := bufio.NewScanner(f)
	for number := 1; scan.Scan(); number++ {
		fields := strings.Fields(scan.Text())
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !slices.Contains([]string{"trainfs", "fuse.trainfs"}, fields[2]) {
			continue
		}
		line := fstabLine{source: unescape(fields[0]), mountPoint: unescape(fields[1]), number: number}
		if len(fields) > 3 {
			line.options = unescape(fields[3])
		}
		lines = append(lines, line)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lines, nil
}

// unescape reads \040 and the like, as fstab(5) writes spaces.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
