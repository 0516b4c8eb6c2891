package minihdfs

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// Node is a data node in a process of its own: Stop loses it as a power cut would, Pause as
// a machine that hangs, and after Restart it has what was on its disk.
type Node struct {
	*child.Process
	Address string // where clients and other data nodes come, 127.0.0.1:port

	data string // its directory
}

// PauseWriting pauses the node as soon as it has a part of a block, of more than some marker.
func (n *Node) PauseWriting(ctx context.Context) error {
	for ctx.Err() == nil {
		if !n.writing() {
			continue
		}
		n.Pause()
		if n.writing() {
			return nil
		}
		n.Resume()
	}
	return ctx.Err()
}

func (n *Node) writing() bool {
	blocks, _ := filepath.Glob(filepath.Join(n.data, "current", "*", "current", "rbw", "blk_*"))
	for _, b := range blocks {
		if fi, err := os.Stat(b); err == nil && fi.Size() > 64<<10 {
			return true
		}
	}
	return false
}

// StartNodes runs a cluster of n such nodes, whose death the name node sees after 12 s, and
// not after ten minutes.
func StartNodes(t testing.TB, n int, settings ...string) (*Cluster, []*Node) {
	t.Helper()
	c := start(t, 0, append(settings, "dfs.heartbeat.interval=1", "dfs.namenode.heartbeat.recheck-interval=1000"))
	var nodes []*Node
	for range n {
		nodes = append(nodes, c.StartNode(t))
	}
	c.WaitForNodes(t, n)
	return c, nodes
}

// StartNode runs one more data node until the test ends. It may not be known to the name
// node yet.
func (c *Cluster) StartNode(t testing.TB, settings ...string) *Node {
	t.Helper()
	dir, address := t.TempDir(), child.FreeAddr(t)
	data := filepath.Join(dir, "data")
	args := []string{"-Xmx200m", "-Dhadoop.tmp.dir=" + dir, "-cp", filepath.Join(c.jars, "*"), "org.apache.hadoop.hdfs.server.datanode.DataNode"}
	settings = append([]string{ // of a property that is there twice the last counts
		"fs.defaultFS=hdfs://" + c.Address,
		"dfs.datanode.address=" + address,
		"dfs.datanode.http.address=127.0.0.1:0",
		"dfs.datanode.ipc.address=127.0.0.1:0",
		"dfs.datanode.data.dir=" + data,
		"dfs.heartbeat.interval=1",
	}, settings...)
	n := &Node{Address: address, data: data}
	n.Process = child.Start(t, child.Spec{
		Name: "a data node", Program: "java", Args: withSettings(args, settings),
		Dir: dir, Env: environment(dir), Patience: patience,
		Ready: func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
	})
	return n
}

// WaitForNodes waits until the name node counts n data nodes that are alive.
func (c *Cluster) WaitForNodes(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		live, err := c.live()
		if err == nil && live == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d data nodes are alive, not %d; %v", live, n, err)
		}
	}
}

func (c *Cluster) live() (int, error) {
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + c.web + "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var told struct {
		Beans []struct{ NumLiveDataNodes int }
	}
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil || len(told.Beans) == 0 {
		return 0, err
	}
	return told.Beans[0].NumLiveDataNodes, nil
}
