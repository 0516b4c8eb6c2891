package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The read side, as a job on another node sees it. The full sizes of the issue are run by
// make acceptance; the normal run has the same steps with less content.

// full tells that the sizes are those of the issue.
func full() bool { return os.Getenv("TRAINFS_TEST_FULL") != "" }

// shard is the content of file j of checkpoint i: small ones, which are put whole, and
// large ones, which are staged in parts.
func shard(i, j int) string { return noise(1000+j*j*45_000, uint64(100*i+j)) }

const shards = 8

// A program that looks all the while finds whole checkpoints of the right bytes, or none.
func TestLoopOfFindStatAndSha256sumSeesOnlyWholeCheckpoints(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	a, b := s.mount(t, "settle=60s"), s.mount(t)
	checkpoints := 8
	if full() {
		checkpoints = 20
	}
	sums, sizes := map[string]string{}, map[string]string{}
	for i := range checkpoints {
		for j := range shards {
			name := fmt.Sprintf("checkpoint_%06d/rank_%d.pt", i, j)
			sums[name], sizes[name] = sum(shard(i, j)), strconv.Itoa(len(shard(i, j)))
		}
	}
	mkdir(t, a.path("run"))
	write(t, a.path("run/begun"), "")
	a.commit("run")
	eventually(t, "the run shows on the other node", func() bool { return exists(b.path("run/begun")) })

	var looks, most int
	look := func() {
		seen := map[string]int{}
		out := runShell(t, b.path("run"), `for d in checkpoint_*; do
			[ -d "$d" ] || continue
			find "$d" -type f | while read -r f; do echo "$(stat -c %s "$f") $(sha256sum "$f")"; done
		done`)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var size, hash, name string
			if n, _ := fmt.Sscan(line, &size, &hash, &name); n != 3 {
				if line != "" {
					t.Errorf("the loop says %q", line)
				}
				continue
			}
			seen[path.Dir(name)]++
			if size != sizes[name] || hash != sums[name] {
				t.Errorf("%s: %s bytes with SHA-256 %s, want %s with %s", name, size, hash, sizes[name], sums[name])
			}
		}
		for dir, n := range seen {
			if n != shards {
				t.Errorf("%s shows %d of %d files", dir, n, shards)
			}
		}
		looks, most = looks+1, max(most, len(seen))
	}
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Add(1)
	go func() {
		defer watcher.Done()
		for {
			select {
			case <-stop:
				return
			default:
				look()
			}
		}
	}()
	for i := range checkpoints {
		dir := mkdir(t, a.path(fmt.Sprintf("run/checkpoint_%06d", i)))
		for j := range shards {
			write(t, fmt.Sprintf("%s/rank_%d.pt", dir, j), shard(i, j))
		}
		a.commit(fmt.Sprintf("run/checkpoint_%06d", i))
	}
	close(stop)
	watcher.Wait()
	eventually(t, "all of them show", func() bool { look(); return most == checkpoints || t.Failed() })
	t.Logf("%d looks", looks)
}

func runShell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir, cmd.Env = dir, plainEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return string(out)
}

// cacheUse is what `trainfs cache` says.
func (m *mount) cacheUse() (used int64) {
	m.t.Helper()
	r := run(m.t, m.env, trainfs, "cache", "--json", m.dir)
	var c struct{ Used, Partial int64 }
	if r.code != 0 || json.Unmarshal([]byte(r.output), &c) != nil {
		m.t.Fatalf("cache: exit code %d\n%s", r.code, r.output)
	}
	return c.Used + c.Partial
}

// A job writes four times what the cache holds, and reads old checkpoints again.
func TestJobLargerThanItsCache(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	const checkpoints, files, size = 20, 4, 512 << 10
	const limit = checkpoints * files * size / 4
	m := s.mount(t, fmt.Sprintf("cache_size=%d", limit), "min_free=1", "settle=300ms", "full_timeout=60s")
	content := func(i, j int) string { return noise(size, uint64(1000*i+j)) }
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			select {
			case <-stop:
				done <- most
				return
			default:
				most = max(most, m.cacheUse())
			}
		}
	}()
	name := func(i int) string { return fmt.Sprintf("run/checkpoint_%06d", i) }
	for i := range checkpoints {
		dir := mkdir(t, m.path(name(i)))
		for j := range files {
			write(t, fmt.Sprintf("%s/f%d", dir, j), content(i, j))
		}
	}
	m.wait()
	for _, i := range []int{0, 7, 3} {
		for j := range files {
			want(t, "SHA-256 of an old file", sum(read(t, fmt.Sprintf("%s/f%d", m.path(name(i)), j))), sum(content(i, j)))
		}
	}
	close(stop)
	// A file counts with what it has on the disk; two were open at the edge of the limit at most.
	if most := <-done; most > limit+2*(size+64<<10) {
		t.Errorf("%d bytes in the cache, the limit is %d", most, limit)
	} else {
		t.Logf("at most %d bytes in the cache, the limit is %d", most, limit)
	}
	for i := range checkpoints {
		for j := range files {
			got, _ := s.get(fmt.Sprintf("%s/f%d", name(i), j))
			want(t, "SHA-256 of an object", sum(got), sum(content(i, j)))
		}
	}
}

// Many processes open one file that nobody has here yet.
func TestManyProcessesOpenOneColdFile(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	size, processes := 48*mib, 32
	if full() {
		size = 512 * mib
	}
	content := noise(size, 5)
	s.put("data/large.bin", content)
	m := s.mount(t)
	before := s.proxy.countIf(isGet)
	var wg sync.WaitGroup
	hashes := make([]string, processes)
	for i := range processes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// Some map it, some read it, some only look at its end.
			script := []string{
				"sha256sum < large.bin",
				"dd if=large.bin bs=64k 2>&3 | sha256sum",
				`/usr/bin/python3 -c 'import hashlib,mmap;f=open("large.bin","rb");m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ);print(hashlib.sha256(m).hexdigest())'`,
				"tail -c 4096 large.bin > /dev/null && sha256sum < large.bin",
			}[i%4]
			hashes[i] = strings.Fields(runShell(t, m.path("data"), "exec 3>/dev/null; "+script) + " -")[0]
		}()
	}
	wg.Wait()
	for i, h := range hashes {
		want(t, fmt.Sprintf("SHA-256 that process %d found", i), h, sum(content))
	}
	var bytes int64
	for _, r := range s.proxy.seen(isGet) {
		bytes += r.wanted
	}
	if bytes > int64(size)+32*mib {
		t.Errorf("%d bytes were asked for, of a file of %d", bytes, size)
	}
	t.Logf("%d GET requests, %d bytes asked for, of %d", s.proxy.countIf(isGet)-before, bytes, size)
	want(t, "the state in the end", m.state("data/large.bin"), "committed")
}

func isGet(r request) bool { return r.method == "GET" && r.wanted > 0 }

// What a killed daemon has fetched of a file is not fetched again.
func TestDownloadGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	const size, held = 48 * mib, 32 * mib
	content := noise(size, 8)
	s.put("data/large.bin", content)
	m := s.mount(t, "prefetch=file")
	s.proxy.holdIf(func(r request) bool { return isGet(r) && r.from >= held })
	f, err := os.Open(m.path("data/large.bin"))
	must(t, err)
	defer f.Close()
	if got, err := readBlock(f, held-mib); err != nil || got != content[held-mib:held-mib+4096] {
		t.Fatalf("what is here cannot be read: %v", err)
	}
	var noted int
	eventually(t, "it is noted what is here", func() bool {
		noted = notedBlocks(t, m)
		return noted >= held/mib && s.proxy.holding() > 0
	})
	m.kill()
	f.Close()
	s.proxy.release()
	before := s.proxy.countIf(func(request) bool { return true })
	m.start()
	want(t, "SHA-256", sum(read(t, m.path("data/large.bin"))), sum(content))
	var asked int64
	s.proxy.mu.Lock()
	for _, r := range s.proxy.asked[before:] {
		if isGet(r) {
			asked += r.wanted
		}
	}
	s.proxy.mu.Unlock()
	// A request that was under way when the mount was busy may be made anew.
	if most := int64(size - noted*mib + 16*mib); asked > most {
		t.Errorf("%d bytes were asked for, though %d blocks of 1 MiB of %d were here", asked, noted, size/mib)
	}
	t.Logf("%d blocks were here, %d bytes asked for after the kill", noted, asked)
}

// notedBlocks counts the blocks that the side files of downloads name.
func notedBlocks(t *testing.T, m *mount) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.cache, "fetch", "*.json"))
	must(t, err)
	for _, name := range files {
		var state struct{ Done []bool }
		if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &state) == nil {
			for _, here := range state.Done {
				if here {
					n++
				}
			}
		}
	}
	return n
}

// Maps work on a file of which a part is here, and the rest is on its way.
func TestMapsOfAFileThatIsBeingFetched(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	a := s.mount(t, "settle=60s")
	mkdir(t, a.path("run/checkpoint_000001"))
	wantRun(t, nil, python, "testdata/maps.py", "write", a.path("run/checkpoint_000001"))
	a.commit("run/checkpoint_000001")
	for _, kind := range []string{"numpy", "torch"} {
		t.Run(kind, func(t *testing.T) {
			b := s.in(t).mount(t, "prefetch=file")
			// Whatever lies beyond the first request waits until the map has been used.
			// Only the index at the end, which torch reads first, comes before its turn.
			s.proxy.holdIf(func(r request) bool { return isGet(r) && r.from >= 16*mib && r.from < 38*mib })
			defer s.proxy.release()
			job := exec.Command(python, "testdata/maps.py", kind, b.path("run/checkpoint_000001"))
			job.Env = append(plainEnv(), "OMP_NUM_THREADS=1")
			more, err := job.StdinPipe()
			must(t, err)
			output := startJob(t, job)
			eventually(t, "it reads through the map while the rest is held up", func() bool {
				return strings.Contains(output(), "mapped") && s.proxy.holding() > 0
			})
			s.proxy.release()
			must(t, more.Close())
			if err := job.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, output())
			}
		})
	}
}

// An evaluation node writes nothing to the store, and needs no permission to.
func TestReadOnlyMountWritesNothingToTheStore(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	s.put("run/notes.txt", "notes")
	s.put("run/checkpoint_000001/model.pt", noise(3*mib, 1))
	writes := func(r request) bool { return r.method != "GET" && r.method != "HEAD" }
	before := s.proxy.countIf(writes)
	s.proxy.failIf(func(r request) int {
		if writes(r) {
			return 403
		}
		return 0
	})
	m := s.mount(t, "ro")
	want(t, "notes", read(t, m.path("run/notes.txt")), "notes")
	want(t, "model", sum(read(t, m.path("run/checkpoint_000001/model.pt"))), sum(noise(3*mib, 1)))
	for what, err := range map[string]error{
		"create": os.WriteFile(m.path("run/new"), nil, 0o644),
		"mkdir":  os.Mkdir(m.path("run/dir"), 0o755),
		"remove": os.Remove(m.path("run/notes.txt")),
		"append": os.Truncate(m.path("run/notes.txt"), 10),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	m.umount()
	want(t, "requests that write", s.proxy.countIf(writes)-before, 0)
}
