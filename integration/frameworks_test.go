package integration

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// replaySteps is how many checkpoints each replay saves. After the first two the test waits
// until they are committed; the others come as fast as the framework writes.
const replaySteps = 4

// stage is where all replays run at the same time: one store, two nodes that train and one that
// looks on. Quiet closes nothing on node 0, so that what does is seen.
type stage struct {
	s     *store
	nodes []*mount
	other *mount
}

// Some twenty frameworks, as many at a time as the machine has processors.
func TestFrameworksCheckpointsShowWholeAndInOrder(t *testing.T) {
	if os.Getenv("TRAINFS_TEST_FULL") == "" {
		t.Skip("it takes a minute or more: see make replays")
	}
	t.Parallel()
	files, err := filepath.Glob("testdata/frameworks/*.ops")
	must(t, err)
	s := s3Store(t)
	w := &stage{s: s, nodes: []*mount{s.mount(t, "settle=1h"), s.mount(t, "settle=2s")}, other: s.mount(t)}
	t.Run("all", func(t *testing.T) {
		for _, file := range files {
			r := readReplay(t, file)
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				w.in(t).run(t, r)
			})
		}
	})
	s.wantNoOpenMarkers()
	s.wantNoUnfinishedUploads()
}

// in is the same stage, for a subtest.
func (w *stage) in(t *testing.T) *stage {
	c := &stage{s: w.s.in(t), other: w.other.in(t)}
	for _, m := range w.nodes {
		c.nodes = append(c.nodes, m.in(t))
	}
	return c
}

func (w *stage) run(t *testing.T, r *replay) {
	m := rehearse(t, r)
	play := &playing{stage: w, replay: r, model: m, t: t}
	for _, n := range w.nodes[:r.ranks] {
		play.bases = append(play.bases, mkdir(t, n.path(r.name)))
	}
	stop := []func(){watch(50*time.Millisecond, play.lookAtTheBucket), watch(100*time.Millisecond, play.lookFromOutside)}
	for _, act := range r.acts() {
		play.act(act)
	}
	if r.finished == "next" { // nobody comes after the last one
		w.nodes[0].commit(filepath.Join(r.name, r.at(replaySteps)))
	}
	for _, n := range w.nodes[:r.ranks] {
		n.wait(r.name)
	}
	for _, f := range stop {
		f()
	}
	play.atTheEnd()
}

// act is a section of a step.
type act struct {
	section string
	n       int
}

// acts is a whole run: a job that dies in the middle of the third checkpoint, and is resumed.
func (r *replay) acts() []act {
	acts := []act{{"start", 0}}
	for n := 1; n <= replaySteps; n++ {
		if n == 3 && r.sections["cut"] != nil {
			acts = append(acts, act{"cut", n}, act{"resume", n})
		}
		if n > r.keep {
			acts = append(acts, act{"remove", n})
		}
		acts = append(acts, act{"save", n})
		if n > r.keep {
			acts = append(acts, act{"rotate", n})
		}
		acts = append(acts, act{"tell", n})
	}
	return append(acts, act{"end", replaySteps})
}

// model is what the same operations leave on a local disk.
type model struct {
	dir     string
	atRest  map[string]bool          // all paths that were there between two sections
	members map[int]map[string]int64 // of the checkpoint of a step: path and size
	told    map[string]int           // content of the tracker, and the step after which it had it
}

// rehearse runs a replay in a local directory.
func rehearse(t *testing.T, r *replay) *model {
	t.Helper()
	m := &model{dir: t.TempDir(), atRest: map[string]bool{}, members: map[int]map[string]int64{}, told: map[string]int{}}
	for _, a := range r.acts() {
		must(t, r.play(a.section, a.n, slices.Repeat([]string{m.dir}, r.ranks)))
		files := sizesBelow(t, m.dir)
		for p := range files {
			m.atRest[p] = true
		}
		content := ""
		if r.tracker != "" {
			content = fileOrLink(filepath.Join(m.dir, r.tracker))
		}
		if _, known := m.told[content]; !known && content != "" {
			m.told[content] = a.n
		}
		if a.section != "save" {
			continue
		}
		m.members[a.n] = map[string]int64{}
		for p, bytes := range files {
			if p == r.at(a.n) || strings.HasPrefix(p, r.at(a.n)+"/") {
				m.members[a.n][p] = bytes
			}
		}
		if len(m.members[a.n]) == 0 {
			t.Fatalf("step %d makes no %s, but %q", a.n, r.at(a.n), slices.Sorted(maps.Keys(files)))
		}
	}
	return m
}

// sizesBelow gives the files and links below a directory, with the bytes that their objects
// have. What vanishes meanwhile is left out.
func sizesBelow(t *testing.T, dir string) map[string]int64 {
	files := map[string]int64{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			files[strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")] = info.Size()
		}
		return nil
	})
	return files
}

// fileOrLink is a file's content, or a link's target; "" if there is none.
func fileOrLink(path string) string {
	if target, err := os.Readlink(path); err == nil {
		return target
	}
	content, _ := os.ReadFile(path)
	return string(content)
}

// playing is a replay that is on its way.
type playing struct {
	*stage
	*replay
	*model
	t     *testing.T
	bases []string

	mu      sync.Mutex
	removed int // the newest checkpoint that the rotation has begun to remove
	newest  int // the newest that the tracker in the bucket has named
}

func (p *playing) act(a act) {
	p.t.Helper()
	if (a.section == "remove" || a.section == "rotate") && p.sections[a.section] != nil {
		p.mu.Lock()
		p.removed = a.n - p.keep
		p.mu.Unlock()
	}
	must(p.t, p.play(a.section, a.n, p.bases))
	if a.section == "tell" && a.n <= 2 {
		p.wantFinished(a.n)
	}
}

// wantFinished fails unless what the replay says it is has told that a checkpoint is finished.
func (p *playing) wantFinished(n int) {
	p.t.Helper()
	if p.finished == "next" {
		if state := p.state(n); state != "dirty" {
			p.t.Errorf("%s is %s, and nothing has said that it is finished", p.at(n), state)
		}
		if n--; n == 0 {
			return
		}
	}
	eventually(p.t, fmt.Sprintf("%s is committed: its %s says that it is finished", p.at(n), p.finished), func() bool {
		return p.state(n) == "committed"
	})
	if p.tracker != "" {
		eventually(p.t, "the bucket has a tracker that names it", func() bool {
			content, _ := p.s.get(filepath.Join(p.name, p.tracker))
			return p.told[content] == n
		})
	}
}

func (p *playing) state(n int) string {
	p.t.Helper()
	return p.nodes[0].state(filepath.Join(p.name, p.at(n)))
}

// going tells that a checkpoint may be on its way out.
func (p *playing) going(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return n <= p.removed
}

// lookAtTheBucket looks at the objects, which are files of the server's: nothing temporary is
// there, the tracker names nothing that is not whole and never goes back, and no member that
// stands for the whole comes before the others.
func (p *playing) lookAtTheBucket() {
	dir := filepath.Join(p.s.dir, p.name)
	tracker := func() (content string) {
		if p.tracker != "" {
			content, _ = p.s.get(filepath.Join(p.name, p.tracker))
		}
		return content
	}
	before := tracker()
	files := sizesBelow(p.t, dir)
	for name := range files {
		if !p.atRest[name] && (p.passing == "" || !strings.HasPrefix(name, p.passing+"/")) {
			p.t.Errorf("the bucket has %s, which is temporary", name)
		}
	}
	for n := range p.members {
		// In the raw bucket the last member follows what its own node has written: what others
		// wrote is theirs to publish. Only mounts see all nodes' parts at once.
		if _, there := files[p.at(n)+"/"+p.last]; there && p.last != "" && p.ranks == 1 {
			if missing := p.missing(n, files); len(missing) > 0 && !p.going(n) {
				p.t.Errorf("the bucket has %s/%s, and not %q", p.at(n), p.last, missing)
			}
		}
	}
	if before == "" {
		return
	}
	n, known := p.told[before]
	switch missing := p.missing(n, files); {
	case !known:
		p.t.Errorf("the bucket has a tracker that says %q, which nobody has written", before)
	case n < p.newest:
		p.t.Errorf("the tracker in the bucket went back from step %d to %d", p.newest, n)
	case len(missing) > 0 && tracker() == before:
		p.t.Errorf("the tracker in the bucket says %q, and the bucket has not %q", before, missing)
	default:
		p.newest = n
	}
}

// missing names the members of a checkpoint that are not among files with their size.
func (p *playing) missing(n int, files map[string]int64) (missing []string) {
	for name, bytes := range p.members[n] {
		if got, ok := files[name]; !ok || got != bytes {
			missing = append(missing, name)
		}
	}
	return missing
}

// lookFromOutside looks through the mount of a third node: every checkpoint is there as a
// whole, or not at all, and a resume by the tracker finds what it names.
func (p *playing) lookFromOutside() {
	base := p.other.path(p.name)
	if p.tracker != "" {
		content := fileOrLink(filepath.Join(base, p.tracker))
		if n, ok := p.told[content]; ok && !p.whole(base, n) && fileOrLink(filepath.Join(base, p.tracker)) == content {
			p.t.Errorf("another mount reads %q in the tracker, and has not all of %s", content, p.at(n))
		}
	}
	parent := filepath.Dir(filepath.Join(base, p.at(1)))
	entries, _ := os.ReadDir(parent)
	for _, e := range entries {
		for n := range p.members {
			if filepath.Join(parent, e.Name()) == filepath.Join(base, p.at(n)) && p.inParts(base, n) {
				p.t.Errorf("another mount shows a part of %s", p.at(n))
			}
		}
	}
}

// inParts tells that a part of a checkpoint shows. One that is being deleted may vanish
// while we look: then nothing of it is left the next time.
func (p *playing) inParts(base string, n int) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		there := len(sizesBelow(p.t, filepath.Join(base, p.at(n))))
		switch whole := p.whole(base, n); {
		case there == 0:
			return false
		case !whole && (!p.going(n) || time.Now().After(deadline)):
			return true
		case whole:
			return false
		}
	}
}

func (p *playing) whole(base string, n int) bool {
	files := map[string]int64{}
	for name, bytes := range sizesBelow(p.t, filepath.Join(base, p.at(n))) {
		files[strings.TrimSuffix(p.at(n)+"/"+name, "/")] = bytes
	}
	return len(p.missing(n, files)) == 0
}

// atTheEnd compares what is left everywhere with what the framework leaves on a local disk.
func (p *playing) atTheEnd() {
	p.s.wantSame(p.model.dir, p.name+"/")
	for n := 1; n <= replaySteps; n++ {
		if !exists(filepath.Join(p.model.dir, p.at(n))) {
			p.s.wantNoTraces(filepath.Join(p.name, p.at(n)))
		}
	}
	local := tree(p.t, p.model.dir)
	eventually(p.t, "the other mount shows what is left", func() bool {
		other := tree(p.t, p.other.path(p.name))
		return maps.Equal(local, other)
	})
}
