// Command stores-table reads what go test -json says of the stores, and prints what every store
// does in every case of the conformance suite:
//
//	go test -json -count=1 -run '^TestStore$' ./backend/... | go run ./scripts/stores-table
//
// It fails if a case fails, or a store that was to be tested does not get to its cases, or if a
// store leaves out a case that others have and docs/stores.md does not name. What a failure
// printed comes after the table.
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
	stores  []string
	cases   []string // in the order of the first store
	results map[[2]string]string
	ended   map[string]string // how the tests of a store ended as a whole
	printed []string          // by what failed
}

func main() {
	explained, err := os.ReadFile("docs/stores.md")
	if err == nil {
		err = run(os.Stdin, os.Stdout, string(explained))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, explained string) error {
	t, err := read(in)
	if err != nil {
		return err
	}
	t.print(out)
	return t.check(explained)
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
		case "pass", "skip":
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
	if !ok || !strings.Contains(name, "/") {
		return // a group is no case
	}
	name = strings.ReplaceAll(name, "_", " ")
	if !slices.Contains(t.stores, store) {
		t.stores = append(t.stores, store)
	}
	if !slices.Contains(t.cases, name) {
		t.cases = append(t.cases, name)
	}
	t.results[[2]string{store, name}] = e.Action
}

func (t *table) print(out io.Writer) {
	slices.Sort(t.stores)
	slices.Sort(t.cases)
	for _, store := range t.stores {
		fmt.Fprintf(out, "%-7s", store)
	}
	fmt.Fprintln(out, "case")
	for _, name := range t.cases {
		for _, store := range t.stores {
			result := t.results[[2]string{store, name}]
			if result == "" {
				result = "-"
			}
			fmt.Fprintf(out, "%-7s", result)
		}
		fmt.Fprintln(out, name)
	}
	fmt.Fprintf(out, "%d stores, %d cases\n", len(t.stores), len(t.cases))
	for _, text := range t.printed {
		fmt.Fprint(out, text)
	}
}

func (t *table) check(explained string) error {
	var errs []error
	if len(t.stores) == 0 {
		errs = append(errs, errors.New("no store was tested"))
	}
	for _, name := range t.cases {
		for _, store := range t.stores {
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
