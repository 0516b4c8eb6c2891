// Package storetest says in code what package backend says in words: every store
// passes [Run], and a promise that no case here tests is not one to rely on.
//
// A case's name reads as the promise it holds the store to. Cases fail for one reason and
// share nothing: each gets a store opened at an empty storage path of its own.
//
// storetest imports backend and backend/crc32c.
package storetest

import (
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// A testCase is one promise.
type testCase struct {
	promise string
	test    func(t *testing.T, s backend.Store)
}

// Run holds a store to every promise of package backend. open gives the store at an
// empty storage path; Run closes it.
func Run(t *testing.T, open func(t *testing.T) backend.Store) {
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"Objects", objectCases},
		{"Conditions", conditionCases},
		{"Attributes", attrCases},
		{"List", listCases},
		{"Delete", deleteCases},
		{"Copy", copyCases},
		{"Keys", keyCases},
		{"Stages", stageCases},
		{"Calls", callCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.promise, func(t *testing.T) {
					s := open(t)
					t.Cleanup(func() {
						if err := s.Close(); err != nil {
							t.Errorf("close: %v", err)
						}
					})
					c.test(t, s)
				})
			}
		})
	}
}
