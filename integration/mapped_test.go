package integration

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Programs that write through a mapping, which the daemon does not see with passthrough,
// and go on after they have closed the file.

const mappedBytes = 300_000

// mapper is such a program, told what to do a letter at a time.
type mapper struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startMapper(t *testing.T, program string, args ...string) *mapper {
	t.Helper()
	p := &mapper{t: t, cmd: exec.Command(program, args...)}
	p.cmd.Env, p.cmd.Stderr = append(plainEnv(), "OMP_NUM_THREADS=1"), os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	p.out = bufio.NewScanner(out)
	must(t, p.cmd.Start())
	t.Cleanup(func() { p.in.Close(); _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	p.answer()
	return p
}

func (p *mapper) answer() {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("%s ended: %v", p.cmd, p.out.Err())
	}
}

func (p *mapper) do(letters string) {
	p.t.Helper()
	for _, c := range letters {
		_, err := io.WriteString(p.in, string(c)+"\n")
		must(p.t, err)
		p.answer()
	}
}

func (p *mapper) end() {
	p.t.Helper()
	must(p.t, p.in.Close())
	must(p.t, p.cmd.Wait())
}

func buildMapper(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "mapper")
	if out, err := exec.Command("gcc", "-Wall", "-Werror", "-o", bin, "testdata/mapper.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return bin
}

// onTmpfs puts the cache of a mount that is not started on tmpfs: there a page that was
// written once changes no mtime any more.
func onTmpfs(t *testing.T, m *mount) {
	dir := mkdir(t, m.cache+".tmpfs")
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size=256m"))
	t.Cleanup(func() {
		m.cleanup() // what is on it goes first
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	})
	m.cache = filepath.Join(dir, "cache")
}

func wantFilled(t *testing.T, s *store, key string, letter byte) {
	t.Helper()
	content, ok := s.get(key)
	if want := strings.Repeat(string(letter), mappedBytes); !ok || content != want {
		t.Errorf("%s has %d bytes that begin with %.8q, want %c", key, len(content), content, letter)
	}
}

// P6, P5: as without passthrough, a file counts as open while it is mapped for writing.
func TestCheckpointWaitsForAMappingThatOutlivesItsDescriptor(t *testing.T) {
	t.Parallel()
	bin := buildMapper(t)
	for name, c := range map[string]struct {
		mode, end string
		tmpfs     bool
	}{
		"munmap":              {"passthrough=auto", "u", true},
		"msync and exit":      {"passthrough=auto", "s", false},
		"exit":                {"passthrough=auto", "", false},
		"without passthrough": {"passthrough=off", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.unmounted(t, c.mode, "settle=100ms")
			if c.tmpfs {
				onTmpfs(t, m)
			}
			m.start()
			mkdir(t, m.path("run/checkpoint_000001"))
			p := startMapper(t, bin, m.path("run/checkpoint_000001/model.bin"), "300000")
			p.do("A")
			// Something that is finished later, and goes by the same clock.
			mkdir(t, m.path("run2/checkpoint_000001"))
			write(t, m.path("run2/checkpoint_000001/f"), "x")
			m.wait("run2")
			want(t, "state while it is mapped", m.state("run/checkpoint_000001"), "dirty")
			p.do("B" + c.end)
			p.end()
			m.wait()
			wantFilled(t, s, "run/checkpoint_000001/model.bin", 'B')
			wantRun(t, nil, trainfs, "verify", m.path("run"))
			wantRun(t, nil, trainfs, "evict", m.path("run"))
			want(t, "read back", sum(read(t, m.path("run/checkpoint_000001/model.bin"))), sum(strings.Repeat("B", mappedBytes)))
		})
	}
}

// P5: an artifact goes up while it is mapped, and again at the end.
func TestLastBytesOfAMappedArtifactReachTheStore(t *testing.T) {
	t.Parallel()
	bin := buildMapper(t)
	for name, c := range map[string]struct {
		program []string
		end     string
		tmpfs   bool
	}{
		"munmap":          {[]string{bin}, "u", false},
		"exit":            {[]string{bin}, "", true},
		"numpy and del":   {[]string{python, "testdata/memmap.py"}, "d", true},
		"numpy and flush": {[]string{python, "testdata/memmap.py"}, "sd", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.unmounted(t)
			if c.tmpfs {
				onTmpfs(t, m)
			}
			m.start()
			mkdir(t, m.path("run"))
			p := startMapper(t, c.program[0], append(c.program[1:], m.path("run/data.bin"), "300000")...)
			p.do("A")
			eventually(t, "it is in the store while it is mapped", func() bool {
				content, _ := s.get("run/data.bin")
				return strings.HasPrefix(content, "A")
			})
			p.do("B" + c.end)
			p.end()
			m.wait()
			wantFilled(t, s, "run/data.bin", 'B')
			wantRun(t, nil, trainfs, "verify", m.path("run"))
		})
	}
}

// P6, P5: the daemon dies, and the program goes on writing to the file in the tree.
func TestMappingThatOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	bin := buildMapper(t)
	s := fileStore(t)
	m := s.unmounted(t, "settle=100ms")
	onTmpfs(t, m)
	m.start()
	if !m.status().Passthrough {
		t.Fatal("no passthrough")
	}
	mkdir(t, m.path("run/checkpoint_000001"))
	checkpoint := startMapper(t, bin, m.path("run/checkpoint_000001/model.bin"), "300000")
	artifact := startMapper(t, bin, m.path("run/data.bin"), "300000")
	checkpoint.do("A")
	artifact.do("A")
	// That is later than the tenth of a second before a kill in which a close counts.
	eventually(t, "the artifact is in the store", func() bool {
		content, _ := s.get("run/data.bin")
		return strings.HasPrefix(content, "A")
	})
	m.kill()
	artifact.do("B")
	artifact.end()
	checkpoint.end()
	m.start()
	eventually(t, "the checkpoint is torn", func() bool { return m.state("run/checkpoint_000001") == "torn" })
	m.wait("run/data.bin")
	wantFilled(t, s, "run/data.bin", 'B')
}
