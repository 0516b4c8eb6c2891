package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile("`([^`]+)`")

// pageRow is a row of the table in docs/frameworks.md.
type pageRow struct {
	entry                       string
	checkpoints, names, replays []string
}

func readPage(t *testing.T) (rows []pageRow) {
	t.Helper()
	page, err := os.ReadFile("../docs/frameworks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## What is detected\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 9 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		words := func(cell int) (words []string) {
			for _, m := range quoted.FindAllStringSubmatch(cells[cell], -1) {
				words = append(words, m[1])
			}
			return words
		}
		rows = append(rows, pageRow{words(1)[0], words(4), words(6), words(7)})
	}
	return rows
}

func TestPageOfFrameworksSaysWhatTheTableSays(t *testing.T) {
	rows := readPage(t)
	var onPage, inTable []string
	for _, r := range rows {
		onPage = append(onPage, r.entry)
	}
	for i := range table {
		inTable = append(inTable, table[i].name)
	}
	if !slices.Equal(onPage, inTable) {
		t.Fatalf("docs/frameworks.md has rows for\n%q, the table has\n%q", onPage, inTable)
	}
	l := mustNew(t)
	for i, r := range rows {
		e := &table[i]
		for _, name := range r.checkpoints {
			if !claims(l, e, name) {
				t.Errorf("docs/frameworks.md: %s is no checkpoint of %s", name, e.name)
			}
		}
		for _, name := range r.names {
			if !namesOrMarks(e, name) {
				t.Errorf("docs/frameworks.md: %s has no tracker, marker or last file %s", e.name, name)
			}
		}
	}
}

// claims tells whether a name, or a pattern of the table, is a checkpoint of e. Numbered ones
// are so below a container only, as in checkpoints/100/.
func claims(l *Layout, e *entry, name string) bool {
	if strings.Contains(name, "*") {
		return slices.Contains(slices.Concat(e.generic, e.extensions), name)
	}
	path, dir := strings.CutSuffix(name, "/")
	c := l.Classify(path, dir)
	return c.Kind == Checkpoint && c.Unit == path && c.Framework == e.name
}

func namesOrMarks(e *entry, name string) bool {
	patterns := slices.Clone(e.markers)
	for _, t := range e.trackers {
		patterns = append(patterns, t.name)
	}
	for _, last := range e.closing {
		patterns = append(patterns, last.name)
	}
	return slices.ContainsFunc(patterns, func(p string) bool { return p == name || match(p, name) })
}

func TestEveryReplayOfAFrameworkIsOnThePage(t *testing.T) {
	var onPage, replays []string
	for _, r := range readPage(t) {
		onPage = append(onPage, r.replays...)
	}
	onPage = append(onPage, "numpy") // it has no row: no entry claims its files
	files, err := filepath.Glob("../integration/testdata/frameworks/*.ops")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		replays = append(replays, strings.TrimSuffix(filepath.Base(file), ".ops"))
	}
	slices.Sort(onPage)
	slices.Sort(replays)
	if !slices.Equal(onPage, replays) {
		t.Errorf("docs/frameworks.md names the replays\n%q, integration/testdata/frameworks has\n%q", onPage, replays)
	}
}
