package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"sync"
	"testing"
)

// promise is one line of the ledger that a workload keeps outside the mount. It is written
// before a call that may change something, and after the call has said that it did.
type promise struct {
	Op   string `json:"op"`
	Path string `json:"path,omitempty"`
	To   string `json:"to,omitempty"`
	Hash string `json:"hash,omitempty"` // of the whole content that the file has, or is to get
	Size int64  `json:"size,omitempty"`
	Text string `json:"text,omitempty"`
	At   int64  `json:"at,omitempty"` // of opWrong: Unix time, ns
}

// What a workload promises itself. A pair like removing, removed brackets one call.
const (
	opBegin    = "begin"    // the file is about to be opened for writing
	opSynced   = "synced"   // fsync of the whole content has returned
	opClosing  = "closing"  // the last descriptor is about to be closed
	opClosed   = "closed"   // close has returned without an error
	opRemoving = "removing" // a file, or a directory with all below
	opRemoved  = "removed"
	opMoving   = "moving"
	opMoved    = "moved"
	opStarted  = "started"  // a checkpoint directory is about to be made
	opFinished = "finished" // all files of a checkpoint are closed, under its final name
	opWrong    = "wrong"    // the mount has broken a promise in sight of the workload
	opDone     = "done"     // the workload has come to its end
)

// ledger appends promises to a file.
type ledger struct {
	mu   sync.Mutex
	file *os.File
}

func (l *ledger) write(p promise) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(b, '\n')); err != nil {
		panic(err)
	}
}

func readLedger(t *testing.T, name string) (list []promise) {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p promise
		must(t, json.Unmarshal(lines.Bytes(), &p))
		list = append(list, p)
	}
	must(t, lines.Err())
	return list
}
