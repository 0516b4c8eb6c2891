package integration

import (
	"fmt"
	"path/filepath"
	"strings"
)

// What is sent to the store, and what is left there unfinished.

// checkSent fails if anything was sent twice in this round without need. Need is a kill:
//
//   - a part whose arrival the server had confirmed before a start is not sent after it: the
//     start asks for the parts and goes on with the rest;
//   - bytes that are put as a whole object are put once a life of the daemon: a kill between
//     the put and its record makes the next life put them again.
//
// The workload never writes the same bytes twice under one name, but for empty files. What has gone
// up of its log, which stays open for reading and writing, goes up once more at the close: nothing
// tells what a mapping has written.
func (c *crash) checkSent() {
	c.t.Helper()
	if c.s.proxy == nil {
		return
	}
	all := c.s.proxy.seen(func(r request) bool { return r.method == "PUT" || r.complete })
	for _, text := range sentTwice(all[c.mark:]) {
		c.broken("%s", text)
	}
	for _, r := range all[c.mark:] {
		if r.method == "PUT" && !r.internal() {
			c.sent += r.bytes
		}
	}
	c.mark = len(all)
}

func sentTwice(all []request) (wrong []string) {
	type sent struct {
		key, crc string
		part     int
	}
	first := map[sent]request{}
	for _, r := range all {
		if r.internal() || r.complete || r.copies || r.bytes == 0 || strings.HasSuffix(r.key, "/") {
			continue
		}
		id := sent{r.key, r.crc, r.part}
		before, again := first[id]
		first[id] = r
		if again && r.key == openLog && r.life == before.life {
			continue
		}
		if again && (r.life == before.life || r.part > 0 && before.answered < r.life) {
			wrong = append(wrong, fmt.Sprintf("sent twice without need: %s part %d, in life %d (confirmed in %d) and in life %d",
				r.key, r.part, before.life, before.answered, r.life))
		}
	}
	return wrong
}

// internal tells trainfs's own objects.
func (r request) internal() bool { return strings.HasPrefix(r.key, ".trainfs/") }

// unfinished lists the uploads that were begun in the store and neither finished nor
// aborted, as the server's disk has them.
func (s *store) unfinished() []string {
	s.t.Helper()
	pattern := filepath.Join(s.dir, ".trainfs/v1/staging/*.[dp]a*") // the data of one, and what is known of its parts
	if s.server != nil {
		pattern = filepath.Join(s.server.Dir, s.bucket, ".sgwtmp/multipart/*/*")
	}
	found, err := filepath.Glob(pattern)
	must(s.t, err)
	return found
}
