package s3_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

// BenchmarkUpload tells what a GiB costs this process, in seconds of processor time; the
// checksum that sealing computes is not counted. 0.7 to 0.9 is what to expect of a slow core.
func BenchmarkUpload(b *testing.B) {
	const (
		size     = 256 << 20
		partSize = 16 << 20
	)
	server := versitygw.Start(b)
	server.Setenv(b)
	loc, err := backend.ParseLocation(server.URL("bench"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := s3.Open(b.Context(), loc, s3.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, size)
	rand.Read(data)
	whole, part := crc32c.Checksum(data), make(map[int]uint32)
	for n := range size / partSize {
		part[n+1] = crc32c.Checksum(data[n*partSize : (n+1)*partSize])
	}

	b.SetBytes(size)
	before := cpuSeconds(b)
	for b.Loop() {
		st, err := s.BeginStage(b.Context(), "model.pt", size, partSize, backend.Attr{})
		if err != nil {
			b.Fatal(err)
		}
		parts := make([]backend.Part, st.Parts())
		var group errgroup.Group
		group.SetLimit(4)
		for n := 1; n <= len(parts); n++ {
			group.Go(func() (err error) {
				off, length := st.Range(n)
				c := backend.Content{R: bytes.NewReader(data), Offset: off, Size: length, CRC32C: part[n]}
				parts[n-1], err = s.PutPart(b.Context(), st, n, c)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		if _, err := s.PublishStage(b.Context(), st, parts, whole, backend.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpuSeconds(b)-before)/(float64(b.N)*size/(1<<30)), "cpu-s/GiB")
}

func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
