package main

import (
	"sync"

	"github.com/trainfs/trainfs/cache"
)

// progressSum adds up the progress of several mounts for one view.
type progressSum struct {
	show func(cache.Progress)
	mu   struct {
		sync.Mutex
		parts []cache.Progress
	}
}

func newProgressSum(n int, show func(cache.Progress)) *progressSum {
	s := &progressSum{show: show}
	s.mu.parts = make([]cache.Progress, n)
	return s
}

// update takes the newest progress of part i; the view is called by one at a time.
func (s *progressSum) update(i int, p cache.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.parts[i] = p
	s.show(s.sum())
}

func (s *progressSum) total() cache.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum()
}

func (s *progressSum) sum() cache.Progress {
	t := cache.Progress{Done: true}
	for _, p := range s.mu.parts {
		t.Units += p.Units
		t.Deletions += p.Deletions
		t.BytesLeft += p.BytesLeft
		t.Rate += p.Rate
		t.Torn = append(t.Torn, p.Torn...)
		t.Stuck = append(t.Stuck, p.Stuck...)
		t.Done = t.Done && p.Done
	}
	return t
}
