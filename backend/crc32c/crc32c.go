// Package crc32c computes and combines CRC-32C (Castagnoli) checksums, the one checksum
// that trainfs, S3, GCS and HDFS have in common and that processors compute in hardware.
//
// With Combine the checksum of a file follows from those of its parts, so a file is
// read once however it is cut. crc32c imports nothing of trainfs.
package crc32c

import (
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync"
)

var table = crc32.MakeTable(crc32.Castagnoli)

// New gives a running checksum.
func New() hash.Hash32 { return crc32.New(table) }

// Checksum of p.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, table) }

// Update gives the checksum of what crc covers followed by p.
func Update(crc uint32, p []byte) uint32 { return crc32.Update(crc, table, p) }

const chunkBytes = 256 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// Of reads n bytes of r from off and gives their checksum; io.ErrUnexpectedEOF if there
// are fewer.
func Of(r io.ReaderAt, off, n int64) (uint32, error) {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	crc := uint32(0)
	for end := off + n; off < end; {
		p := (*buf)[:min(chunkBytes, end-off)]
		got, err := r.ReadAt(p, off)
		crc = Update(crc, p[:got])
		off += int64(got)
		switch {
		case got == len(p): // a reader may report the end together with the last bytes
		case err == io.EOF:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case got == 0:
			return 0, fmt.Errorf("read at %d: %w", off, io.ErrNoProgress)
		}
	}
	return crc, nil
}
