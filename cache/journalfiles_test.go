package cache

import (
	"os"
	"path/filepath"
	"testing"
)

// P5: a kill while Badger makes a log, or removes one, leaves a file without a byte. The
// journal must not be taken for damaged for that: it knows what was renamed and deleted.
func TestJournalOpensAfterAKillThatLeftAnEmptyLog(t *testing.T) {
	for _, name := range []string{"00000.mem", "00009.mem", "000000.vlog", "000009.vlog"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			j := smallJournal(t, dir)
			if err := j.write(number(0), number(1)); err != nil {
				t.Fatal(err)
			}
			if err := j.close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			j = smallJournal(t, dir) // which fails if it cannot be opened
			defer j.close()
			checkNumbers(t, j, 2)
		})
	}
}
