package crc32c

import "hash/crc32"

// powers[n] is x^(2^n) modulo the polynomial; 2^n counts bits, and a length in bytes of
// up to 63 bits has up to 66.
var powers = makePowers()

func makePowers() (t [66]uint32) {
	t[0] = 1 << 30 // x^1: the highest bit is x^0, as everywhere in the reflected form
	for n := 1; n < len(t); n++ {
		t[n] = multiply(t[n-1], t[n-1])
	}
	return t
}

// Combine gives the checksum of A followed by B from their own, where B has len2 bytes.
//
// Appending len2 zero bytes to A multiplies its checksum by x^(8*len2); the rest is an
// exclusive or. The method is that of zlib's crc32_combine (Mark Adler), with the
// Castagnoli polynomial.
func Combine(crc1, crc2 uint32, len2 int64) uint32 {
	shift := uint32(1 << 31) // x^0
	for n := 3; len2 > 0; n, len2 = n+1, len2>>1 {
		if len2&1 != 0 {
			shift = multiply(powers[n], shift)
		}
	}
	return multiply(shift, crc1) ^ crc2
}

// multiply two polynomials over GF(2), modulo the polynomial, all in reflected form.
func multiply(a, b uint32) uint32 {
	product := uint32(0)
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return product
}
