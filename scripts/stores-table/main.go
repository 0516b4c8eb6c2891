// Command stores-table reads what go test -json says of the stores, and prints what every store
// does in every case of the conformance suite:
//
//	go test -json -count=1 -run '^TestStore$' ./backend/... | go run ./scripts/stores-table STORE…
//
// A store is a package below backend, and one that the adapter for fsspec serves is plugin/NAME.
//
// It fails if a case fails, or a store that was to be tested, one of the arguments among them, does
// not get to its cases, or if a store leaves out a case that others have and docs/stores.md does not
// name; and if README.md says something else of what works where. What a failure or a skipped
// suite printed comes after the table.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// event is what this needs of a line of go test -json.
type event struct {
	Action, Package, Test, Output string
}

// table is the result of each case, by store.
type table struct {
	stores  []string // whose suite has run, and those that are wanted
	cases   []string // in the order of the first store
	results map[[2]string]string
	ended   map[string]string // how the tests of a store ended as a whole
	printed []string          // by what failed
}

func main() {
	stores, err := os.ReadFile("docs/stores.md")
	var readme []byte
	if err == nil {
		readme, err = os.ReadFile("README.md")
	}
	if err == nil {
		err = run(os.Stdin, os.Stdout, os.Args[1:], string(stores), string(readme))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, wanted []string, explained, readme string) error {
	t, err := read(in)
	if err != nil {
		return err
	}
	for _, store := range wanted {
		t.column(store)
	}
	t.print(out)
	return errors.Join(t.check(explained), t.checkClaims(claims(readme)))
}

func read(in io.Reader) (*table, error) {
	t := &table{results: map[[2]string]string{}, ended: map[string]string{}}
	output := map[[2]string]string{}
	for dec := json.NewDecoder(in); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return t, nil
		} else if err != nil {
			return nil, err
		}
		from := [2]string{e.Package, e.Test}
		switch e.Action {
		case "output":
			output[from] += e.Output
		case "build-output":
			t.printed = append(t.printed, e.Output)
		case "fail":
			t.printed = append(t.printed, output[from])
			t.add(e)
		case "skip":
			t.printed = append(t.printed, output[from])
			t.add(e)
		case "pass":
			delete(output, from)
			t.add(e)
		}
	}
}

// add notes how a case, or the tests of a store as a whole, ended.
func (t *table) add(e event) {
	store := path.Base(e.Package)
	if e.Test == "" {
		t.ended[store] = e.Action
		return
	}
	name, ok := strings.CutPrefix(e.Test, "TestStore/")
	if served, is := strings.CutPrefix(e.Test, "TestAdapterOfFsspec/"); is {
		var kind string
		kind, name, _ = strings.Cut(served, "/")
		store, ok = store+"/"+kind, true
	}
	if !ok {
		return
	}
	t.column(store)
	if !strings.Contains(name, "/") {
		return // a group is no case
	}
	name = strings.ReplaceAll(name, "_", " ")
	if !slices.Contains(t.cases, name) {
		t.cases = append(t.cases, name)
	}
	t.results[[2]string{store, name}] = e.Action
}

func (t *table) column(store string) {
	if !slices.Contains(t.stores, store) {
		t.stores = append(t.stores, store)
	}
}

// ran tells whether a store has come to any case.
func (t *table) ran(store string) bool {
	return slices.ContainsFunc(t.cases, func(name string) bool { return t.results[[2]string{store, name}] != "" })
}

func (t *table) print(out io.Writer) {
	slices.Sort(t.stores)
	slices.Sort(t.cases)
	for _, store := range t.stores {
		fmt.Fprintf(out, "%-*s", width(store), store)
	}
	fmt.Fprintln(out, "case")
	for _, name := range t.cases {
		for _, store := range t.stores {
			result := t.results[[2]string{store, name}]
			if result == "" {
				result = "-"
			}
			fmt.Fprintf(out, "%-*s", width(store), result)
		}
		fmt.Fprintln(out, name)
	}
	fmt.Fprintf(out, "%d stores, %d cases\n", len(t.stores), len(t.cases))
	for _, text := range t.printed {
		fmt.Fprint(out, text)
	}
}

func width(store string) int { return max(len(store)+2, 7) }

func (t *table) check(explained string) error {
	var errs []error
	if len(t.stores) == 0 {
		errs = append(errs, errors.New("no store was tested"))
	}
	for _, store := range t.stores {
		if !t.ran(store) {
			errs = append(errs, fmt.Errorf("%s has not come to any case", store))
			continue
		}
		for _, name := range t.cases {
			switch result := t.results[[2]string{store, name}]; {
			case result == "pass":
			case result == "fail":
				errs = append(errs, fmt.Errorf("%s fails: %s", store, name))
			case !strings.Contains(explained, name):
				errs = append(errs, fmt.Errorf("%s leaves out, and docs/stores.md does not say why: %s", store, name))
			}
		}
	}
	for _, store := range slices.Sorted(maps.Keys(t.ended)) {
		switch {
		case !slices.Contains(t.stores, store):
			errs = append(errs, fmt.Errorf("%s has not come to any case", store))
		case t.ended[store] == "fail":
			errs = append(errs, fmt.Errorf("%s fails", store))
		}
	}
	return errors.Join(errs...)
}

// unmounted is the store that nobody can mount: it is for tests.
const unmounted = "mem"

// claims are the first and the last cell of each row of README.md's table of what works where.
func claims(readme string) map[string]string {
	_, section, _ := strings.Cut(readme, "\n## What works where\n")
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if name := strings.TrimSpace(cells[0]); strings.HasPrefix(name, "`") {
			out[strings.Trim(name, "`")] = strings.TrimSpace(cells[len(cells)-1])
		}
	}
	return out
}

// checkClaims holds what README.md says to what was found.
func (t *table) checkClaims(said map[string]string) error {
	var errs []error
	for _, store := range t.stores {
		found := "all"
		if n := len(t.cases) - t.passed(store); n > 0 {
			found = fmt.Sprintf("all but %d", n)
		}
		if store != unmounted && said[store] != found {
			errs = append(errs, fmt.Errorf("README.md says of what works where: %s %q, and it passes %s", store, said[store], found))
		}
	}
	for _, store := range slices.Sorted(maps.Keys(said)) {
		if !slices.Contains(t.stores, store) {
			errs = append(errs, fmt.Errorf("README.md says of what works where: %s, which was not tested", store))
		}
	}
	return errors.Join(errs...)
}

func (t *table) passed(store string) (n int) {
	for _, name := range t.cases {
		if t.results[[2]string{store, name}] == "pass" {
			n++
		}
	}
	return n
}
