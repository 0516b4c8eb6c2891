package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKilledDuringAnUploadSendsOnlyTheRestAfterRemount(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "part_size=5M", "upload_parallel=16")
	const dir = "trial/checkpoint_000001"
	ofDir := func(r request) bool { return r.part > 0 && strings.HasPrefix(r.key, dir) }
	// Of each file the later parts are held up, so that the upload is surely half done.
	s.proxy.holdIf(func(r request) bool { return r.part > 2 })
	mkdir(t, m.path(dir))
	for i := range 2 {
		write(t, m.path(dir, fmt.Sprintf("f%d", i)), noise(22*mib, uint64(i)))
	}
	eventually(t, "four parts are there, and others under way", func() bool { return len(s.proxy.seen(ofDir)) == 4 })
	eventually(t, "status tells them", func() bool { return m.status().BytesUploaded >= 20*mib })
	m.kill()
	s.proxy.release()
	before := s.proxy.seen(ofDir)
	s.wantKeys()

	m.start()
	m.wait()
	s.wantSame(m.path(dir), dir+"/")
	sent := map[string]int{}
	for _, r := range s.proxy.seen(ofDir) {
		sent[fmt.Sprintf("%s part %d", r.key, r.part)]++
	}
	want(t, "different parts", len(sent), 2*5)
	for _, r := range before {
		if part := fmt.Sprintf("%s part %d", r.key, r.part); sent[part] != 1 {
			t.Errorf("%s was sent %d times", part, sent[part])
		}
	}
	if got := m.status().BytesUploaded; got > 24*mib {
		t.Errorf("the second daemon sent %d bytes; 24 MiB were left", got)
	}
	s.wantNoOpenMarkers()
}

func TestKilledAtAnyMomentOfACommitItIsCommittedAfterRemount(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t, "settle=100ms")
		// Each round kills a little later in the life of a checkpoint.
		moments := []string{"dirty", "sealed", "uploading", "committed"}
		for round, moment := range moments {
			dir := fmt.Sprintf("trial/checkpoint_%06d", round)
			mkdir(t, m.path(dir))
			for i := range 3 {
				write(t, m.path(dir, fmt.Sprint(i)), noise(4*mib, uint64(round*3+i)))
			}
			d := m.daemon()
			eventually(t, moment, func() bool {
				now := m.state(dir)
				for _, later := range moments[round:] {
					if now == later {
						return true
					}
				}
				return false
			})
			d.signal(unix.SIGKILL)
			d.wait()
			m.start()
		}
		m.wait()
		s.wantSame(m.dir, "")
		s.wantNoOpenMarkers()
	})
}

// holders are programs that write parts of a file and keep it open until their stdin ends.
// The kernel tells FUSE of every descriptor that is closed, a copy's and a child's too:
// that must not make half a file whole.
var holders = map[string]string{
	"plain":            ``,
	"copy closed":      `os.close(os.dup(f.fileno()))`,
	"child has exited": `os.fork() == 0 and os._exit(0) or os.wait()`,
}

const holderProgram = `
import os, sys
f = open(sys.argv[1], "w")
f.write("half")
f.flush()
%s
f.write(" more")
f.flush()
print("ready", flush=True)
sys.stdin.read()
`

func TestKilledWhileAFileIsOpenItIsTorn(t *testing.T) {
	for name, script := range holders {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *store) { killWhileOpen(t, s, script) })
		})
	}
}

func killWhileOpen(t *testing.T, s *store, script string) {
	m := s.mount(t, "settle=1h") // starting the program takes its time, and the directory is not finished before it
	torn, whole := "trial/checkpoint_000001", "trial/checkpoint_000002"
	write(t, filepath.Join(mkdir(t, m.path(torn)), "optimizer.pt"), "whole")
	holder := exec.Command(python, "-c", fmt.Sprintf(holderProgram, script), m.path(torn, "model.pt"))
	release, err := holder.StdinPipe()
	must(t, err)
	output := startJob(t, holder)
	eventually(t, "half is written", func() bool { return strings.Contains(output(), "ready") })
	write(t, filepath.Join(mkdir(t, m.path(whole)), "model.pt"), "whole")
	m.kill()
	must(t, release.Close())
	_ = holder.Wait()

	m.start()
	wantRun(t, m.env, trainfs, "commit", "-q", m.path(whole))
	eventually(t, "status names it", func() bool {
		state, reason := m.unit(torn)
		return state == "torn" && strings.Contains(reason, "model.pt") || state == "" && m.state(torn) == "committed"
	})
	want(t, "its own word", m.state(torn), "torn")
	eventually(t, "the other one is committed", func() bool { return m.state(whole) == "committed" })
	s.wantKeys(whole + "/model.pt")
	want(t, "what there is of it", read(t, m.path(torn, "model.pt")), "half more")
	r := run(t, m.env, trainfs, "wait", "-q", "--timeout", patience.String(), m.dir)
	if r.code != 1 || !strings.Contains(r.output, torn) {
		t.Errorf("wait: exit code %d\n%s", r.code, r.output)
	}
	r = run(t, m.env, trainfs, "umount", m.dir)
	if r.code != 0 || !strings.Contains(r.output, torn) {
		t.Errorf("umount: exit code %d\n%s", r.code, r.output)
	}

	m.start() // still so, and once it is written anew it goes up
	want(t, "after another start", m.state(torn), "torn")
	write(t, m.path(torn, "model.pt"), "now whole")
	m.commit(torn)
	s.wantKeys(torn+"/model.pt", torn+"/optimizer.pt", whole+"/model.pt")
}

func TestClosedJustBeforeAKillItIsCommitted(t *testing.T) {
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t, mode)
			const rounds = 20
			for round := range rounds {
				dir := mkdir(t, m.path(fmt.Sprintf("checkpoint_%06d", round)))
				d := m.daemon()
				write(t, filepath.Join(dir, "model.pt"), noise(64<<10, uint64(round)))
				d.signal(unix.SIGKILL)
				d.wait()
				m.start()
			}
			m.wait() // which fails if anything is torn
			want(t, "objects", len(s.keys()), rounds)
			s.wantSame(m.dir, "")
		})
	}
}

// I4.
func TestDeletionsAndRenamesSurviveAKill(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		for _, name := range []string{"removed.txt", "dir/old.txt", "checkpoint_000001/f", "checkpoint_000002/f"} {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), name)
		}
		m.wait()
		steps := []func() error{
			func() error { return os.Remove(m.path("removed.txt")) },
			func() error { return os.Rename(m.path("dir"), m.path("moved")) },
			func() error { return os.RemoveAll(m.path("checkpoint_000001")) },
			func() error { return os.Rename(m.path("checkpoint_000002"), m.path("checkpoint_000003")) },
		}
		for _, step := range steps {
			d := m.daemon()
			must(t, step())
			d.signal(unix.SIGKILL)
			d.wait()
			m.start()
		}
		m.wait()
		s.wantKeys("moved/old.txt", "checkpoint_000003/f")
		s.wantSame(m.dir, "")
		s.wantNoOpenMarkers()
		s.wantNoTraces("checkpoint_000001")
		s.wantNoTraces("checkpoint_000002")
	})
}
