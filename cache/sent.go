package cache

import (
	"slices"
)

// This file keeps an answer that was lost from being taken for somebody else's work. A put may
// have been carried out although its answer never came, or the daemon died before it. If the
// file is written again before it is committed, the store has other content under its name:
// content of this node's own. Without a memory of it that is a clash (I6), and the newer file
// would be set aside. So it is noted before the first put under a name.

// Sent is a file that is about to go up under a name of which the journal says nothing.
type Sent struct {
	Path   string
	Size   int64
	CRC32C uint32
	Unseen bool // nobody has looked whether the store has something there: only just this content is ours
}

// sentRecord lists what this node may have put under a name that nobody has looked at.
type sentRecord struct {
	Contents []sentContent `json:"contents"`
}

type sentContent struct {
	Size   int64  `json:"size"`
	CRC32C uint32 `json:"crc32c"`
}

const mostSent = 16 // versions of one file, none of which was committed; the newest count

// Sending notes files before they go up. Of a name that was seen to be free it is enough
// that this node knows it from now on.
func (c *Cache) Sending(s *Snapshot, files []Sent) error { return c.sending(s.seq, files) }

// SendingVersion is Sending for a version of a tracker.
func (c *Cache) SendingVersion(v TrackerVersion, f Sent) error { return c.sending(v.Seq, []Sent{f}) }

func (c *Cache) sending(seq uint64, files []Sent) error {
	var ops []op
	var known []Done
	for _, f := range files {
		if !f.Unseen {
			ops = append(ops, put(tableFile, f.Path, fileRecord{}))
			known = append(known, Done{Path: f.Path})
			continue
		}
		var r sentRecord
		if _, err := c.journal.get(tableSent, f.Path, &r); err != nil {
			return err
		}
		this := sentContent{f.Size, f.CRC32C}
		if slices.Contains(r.Contents, this) {
			continue
		}
		r.Contents = append(r.Contents, this)
		r.Contents = r.Contents[max(0, len(r.Contents)-mostSent):]
		ops = append(ops, put(tableSent, f.Path, r))
	}
	if len(ops) == 0 {
		return nil
	}
	if err := c.journal.write(ops...); err != nil {
		return err
	}
	return c.unrecord(seq, known)
}

// WasSent tells whether an object may be one that this node has put, and not been told of.
func (c *Cache) WasSent(path string, size int64, crc uint32) (bool, error) {
	var r sentRecord
	_, err := c.journal.get(tableSent, path, &r)
	return slices.Contains(r.Contents, sentContent{size, crc}), err
}
