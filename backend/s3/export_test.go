package s3

import "time"

// SetRereadAfter says how long keys from a file are used before the file is looked at again.
func SetRereadAfter(d time.Duration) (back func()) {
	old := rereadAfter
	rereadAfter = d
	return func() { rereadAfter = old }
}
