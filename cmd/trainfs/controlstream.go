package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// lineStream writes lines of JSON while a request goes on. A client that no longer reads
// ends its own request, and nothing else.
type lineStream struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	ctx    context.Context
	cancel context.CancelFunc
}

func newLineStream(w http.ResponseWriter, r *http.Request) *lineStream {
	s := &lineStream{w: w, rc: http.NewResponseController(w)}
	s.ctx, s.cancel = context.WithCancel(r.Context())
	return s
}

func (s *lineStream) send(line any) {
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	// net/http's connection has deadlines; a recorder in a test has none, and needs none.
	_ = s.rc.SetWriteDeadline(time.Now().Add(lineTimeout))
	if err := json.NewEncoder(s.w).Encode(line); err != nil {
		s.cancel()
		return
	}
	if err := s.rc.Flush(); err != nil {
		s.cancel()
	}
}

// endOf is how a stream ends.
func endOf(err error) streamEnd {
	switch {
	case err == nil:
		return streamEnd{Done: true}
	case errors.Is(err, context.Canceled): // or the client left, and reads nothing
		err = errStopping
	}
	return streamEnd{Error: err.Error()}
}

// progressStream is one of cache.Progress.
type progressStream struct {
	*lineStream
	last cache.Progress
}

func newProgressStream(w http.ResponseWriter, r *http.Request) *progressStream {
	return &progressStream{lineStream: newLineStream(w, r)}
}

// line sends one report.
func (p *progressStream) line(now cache.Progress) {
	p.last = now
	now.Done, now.Error = false, "" // only finish says how it ended
	p.send(now)
}

// finish sends the last line: done, or the reason why not.
func (p *progressStream) finish(err error) {
	line := p.last
	end := endOf(err)
	line.Done, line.Error = end.Done, end.Error
	p.send(line)
}
