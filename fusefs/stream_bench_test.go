package fusefs

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkStreamingRead reads what is still being fetched, with the data at hand: what
// this process and the kernel cost between the cache and a program.
func BenchmarkStreamingRead(b *testing.B) {
	const size = 512 << 20
	for _, c := range []struct {
		name string
		args []string
	}{
		{"bs=1M", []string{"bs=1M"}},
		{"bs=64K", []string{"bs=64K"}},
		{"bs=1M,direct", []string{"bs=1M", "iflag=direct"}},
	} {
		for _, readers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/readers=%d", c.name, readers), func(b *testing.B) {
				f := &fake{dir: b.TempDir()}
				mnt, _ := testMount(b, f)
				for i := range readers {
					f.fetch(b, fmt.Sprint(i), make([]byte, size), nil)
				}
				b.SetBytes(int64(readers * size))
				for b.Loop() {
					var all []*exec.Cmd
					for i := range readers {
						cmd := exec.Command("dd", append(c.args, "if="+filepath.Join(mnt, fmt.Sprint(i)), "of=/dev/null")...)
						if err := cmd.Start(); err != nil {
							b.Fatal(err)
						}
						all = append(all, cmd)
					}
					for _, cmd := range all {
						if err := cmd.Wait(); err != nil {
							b.Error(err)
						}
					}
				}
				reads := 0
				for i := range readers {
					reads += int(f.streaming(fmt.Sprint(i)).reads.Load())
				}
				b.ReportMetric(float64(size)*float64(readers)*float64(b.N)/float64(reads)/1024, "KiB/read")
			})
		}
	}
}
