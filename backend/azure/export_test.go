package azure

// CopyInParts makes s copy in parts what is larger than n bytes.
func CopyInParts(s *Store, n int64) { s.copyWholeBytes = n }

// Header is the key of what says that a stage exists.
var Header = header
