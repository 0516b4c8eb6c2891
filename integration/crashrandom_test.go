package integration

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// The long form of the crash tests is make crash. Without flags a few kills have to do.
var (
	killsFlag = flag.Int("kills", 4, "random kills of the crash test, half of them on each store")
	crashTime = flag.Duration("crash.time", time.Minute, "most time for random kills, and for named steps, on each store")
	crashSeed = flag.Uint64("crash.seed", 0, "what is random follows from this; 0: take one and print it")
	crashFast = flag.Bool("crash.fast", false, "the programs run without the race detector")
)

// killable builds the program with its kill steps, once.
var killable = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(trainfs), "killable", "trainfs")
	flags := []string{"-tags", "killpoint"}
	if !*crashFast {
		flags = append(flags, "-race")
	}
	return program, buildTo(program, flags...)
})

// killAtRandom is one round: work, kill, look, mount again, wait, look.
func (c *crash) killAtRandom() {
	c.t.Helper()
	c.round++
	most := time.Duration(20+c.rand.IntN(1500)) * time.Millisecond
	wait := c.work(most)
	// Most kills come while it works, some while what it did is on its way up.
	time.Sleep(time.Duration(c.rand.Float64() * 1.5 * float64(most)))
	c.kill()
	wait()
	c.look()
	c.start()
	if c.rand.IntN(8) == 0 { // and again while it recovers, or has just begun
		time.Sleep(time.Duration(c.rand.IntN(400)) * time.Millisecond)
		c.kill()
		c.start()
	}
	c.settle()
}

func seedOf(t *testing.T) uint64 {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", seed)
	return seed
}

// TestNothingIsLostAndNothingTornByRandomKills is P3, P4, P5 and P6.
func TestNothingIsLostAndNothingTornByRandomKills(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		c := newCrash(t, s, seedOf(t))
		program, err := killable()
		must(t, err)
		c.m.program = program
		c.start()
		defer func() { figure("random kills, %s: %s", c.s.kind(), &c.tally) }()
		for end := time.Now().Add(*crashTime); c.kills < (*killsFlag+1)/2 && time.Now().Before(end) && c.lost < 5; {
			c.killAtRandom()
			c.thirdMount()
			c.collectGarbage()
		}
	})
}
