package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// progressStream writes cache.Progress as lines of JSON while a request goes on. A client
// that no longer reads ends its own request, and nothing else.
type progressStream struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	ctx    context.Context
	cancel context.CancelFunc
	last   cache.Progress
}

func newProgressStream(w http.ResponseWriter, r *http.Request) *progressStream {
	p := &progressStream{w: w, rc: http.NewResponseController(w)}
	p.ctx, p.cancel = context.WithCancel(r.Context())
	return p
}

// line sends one report.
func (p *progressStream) line(now cache.Progress) {
	p.last = now
	now.Done, now.Error = false, "" // only finish says how it ended
	p.send(now)
}

// finish sends the last line: done, or the reason why not.
func (p *progressStream) finish(err error) {
	end := p.last
	end.Done, end.Error = err == nil, ""
	if err != nil {
		if errors.Is(err, context.Canceled) { // or the client left, and reads nothing
			err = errStopping
		}
		end.Error = err.Error()
	}
	p.send(end)
}

func (p *progressStream) send(now cache.Progress) {
	p.w.Header().Set("Content-Type", "application/x-ndjson")
	// net/http's connection has deadlines; a recorder in a test has none, and needs none.
	_ = p.rc.SetWriteDeadline(time.Now().Add(lineTimeout))
	if err := json.NewEncoder(p.w).Encode(now); err != nil {
		p.cancel()
		return
	}
	if err := p.rc.Flush(); err != nil {
		p.cancel()
	}
}
