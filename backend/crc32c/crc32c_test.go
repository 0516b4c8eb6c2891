package crc32c

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestKnownChecksum(t *testing.T) {
	// The check value of CRC-32C in RFC 3720 and every catalogue of CRCs.
	if got := Checksum([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("Checksum = %08x", got)
	}
}

func TestCombineEqualsChecksumOfTheWhole(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{1})
	whole := make([]byte, 100_003)
	rnd.Read(whole)
	want := Checksum(whole)
	for _, cut := range []int{0, 1, 2, 7, 8, 255, 256, 4096, 65_536, len(whole) - 1, len(whole)} {
		a, b := whole[:cut], whole[cut:]
		if got := Combine(Checksum(a), Checksum(b), int64(len(b))); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

func TestCombineIsAssociativeAtAnyLength(t *testing.T) {
	const a, b, c = 0xdeadbeef, 0x12345678, 0x0badcafe
	for _, n := range []int64{1, 1 << 20, 5 << 30, 1<<40 + 12345, 1 << 60} {
		left := Combine(Combine(a, b, n), c, n)
		right := Combine(a, Combine(b, c, n), 2*n)
		if left != right {
			t.Errorf("length %d: %08x and %08x", n, left, right)
		}
	}
}

func TestOfReadsTheRangeAndOnlyThat(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 60_000) // more than two chunks
	got, err := Of(bytes.NewReader(data), 5, 599_990)
	if err != nil || got != Checksum(data[5:599_995]) {
		t.Errorf("Of = %08x, %v", got, err)
	}
	if _, err := Of(bytes.NewReader(data), 5, int64(len(data))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Of past the end: %v", err)
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("hello"), []byte("world"))
	f.Add([]byte(nil), []byte{0})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		h := New()
		if _, err := io.Copy(h, io.MultiReader(bytes.NewReader(a), iotest.OneByteReader(bytes.NewReader(b)))); err != nil {
			t.Fatal(err)
		}
		if got := Combine(Checksum(a), Checksum(b), int64(len(b))); got != h.Sum32() {
			t.Errorf("%08x, want %08x", got, h.Sum32())
		}
	})
}
