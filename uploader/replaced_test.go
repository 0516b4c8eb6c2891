package uploader

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// P2: what a file was renamed onto is gone, though this node knew it only from a listing and
// the file goes away again before its commit.
func TestWhatARenameHasReplacedStaysReplaced(t *testing.T) {
	for _, dir := range []string{"run", "run/checkpoint_000000"} {
		for how, want := range map[string]string{"deleted": "", "renamed": "new", "deleted after a restart": "", "renamed from a listing": "new"} {
			t.Run(dir+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				a := startNode(t, s)
				b := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
				for _, d := range []string{"run", "run/checkpoint_000000"} {
					a.mkdir(d)
				}
				a.write(dir+"/keep", "keep")
				a.write(dir+"/f", "old")
				a.write("run/other", "new")
				a.wait()
				b.names("run")
				b.names(dir)
				if how == "renamed from a listing" {
					b.rename("run/other", dir+"/f")
				} else {
					b.write("run/tmp", "new")
					b.rename("run/tmp", dir+"/f")
				}
				switch how {
				case "deleted":
					b.unlink(dir + "/f")
				case "deleted after a restart":
					b.restart()
					b.unlink(dir + "/f")
				default:
					b.rename(dir+"/f", "run/kept")
				}
				eventually(t, "committed", func() bool {
					b.up.Commit(ctx, []string{""})
					return b.up.pending([]string{""}).Done
				})
				if !b.missing(dir + "/f") {
					t.Error("it shows again")
				}
				c := startNode(t, s)
				if !c.missing(dir + "/f") {
					t.Error("another node sees it again")
				}
				if want != "" && get(t, s, "run/kept") != want {
					t.Errorf("run/kept: %q", get(t, s, "run/kept"))
				}
				if _, r := c.verify(""); r.Bad() != 0 || r.Extra != 0 {
					t.Errorf("verify: %+v", r)
				}
			})
		}
	}
}
