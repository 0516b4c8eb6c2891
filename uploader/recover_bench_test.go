package uploader

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

// BenchmarkRecover is the time of a start, until requests are answered, that finds
// 100,000 dirty files and 10,000 clean ones in the cache. Goal: under 5 s.
//
//	go test ./uploader -run '^$' -bench Recover -benchtime 3x
func BenchmarkRecover(b *testing.B) {
	const clean, dirty, each = 10_000, 100_000, 1_000
	n := startNode(b, mem.New())
	fill := func(dir string, files int) {
		for i := range files {
			path := filepath.Join(n.cfg.Dir, "tree", dir, fmt.Sprint(i/each), fmt.Sprint(i%each))
			if i%each == 0 {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	n.close()
	fill("clean", clean)
	n.start()
	n.wait()
	n.close()
	fill("dirty", dirty)
	for b.Loop() {
		c, err := cache.Open(ctx, n.cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
