package cache

import (
	"errors"
	"io/fs"
	"time"
)

// What several programs ask the store for at the same moment it is asked for once. But an
// answer is as old as the question: who asks when another one's question is already on its
// way may know of something that it was too early for, such as a commit that another node has
// told of.

// share returns what f returns, or what it returns to somebody who has called it before; but
// for no longer before than keeps says of the answer, and not if that is that it is missing.
func (n *names) share(key string, keeps func(answer any) time.Duration, f func() (any, error)) (any, error) {
	type timed struct {
		answer any
		began  time.Time
	}
	asked := time.Now()
	for {
		got, err, _ := n.flight.Do(key, func() (any, error) {
			began := time.Now()
			answer, err := f()
			return timed{answer, began}, err
		})
		t := got.(timed)
		early := asked.Sub(t.began)
		switch {
		case early <= 0:
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && early >= keeps(t.answer):
			continue
		}
		return t.answer, err
	}
}
