// Package minihdfs runs a real HDFS for tests: Hadoop's own name node and data nodes, in
// one child process, on the loopback interface. It needs Java and Maven, which fetches
// Hadoop the first time.
//
// minihdfs imports backend/storetest/child.
package minihdfs

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// Cluster is a running one.
type Cluster struct {
	*child.Process
	Address string // of the name node's RPC, 127.0.0.1:port
}

// Available tells whether there is what a cluster needs.
func Available() error {
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("no %s: install default-jre-headless and maven (scripts/setup --hdfs does)", program)
		}
	}
	return nil
}

// Start runs a cluster of one data node until the test ends. settings are properties of
// Hadoop's configuration, NAME=VALUE.
func Start(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	jars, err := hadoop()
	if err != nil {
		t.Fatalf("fetch Hadoop: %v", err)
	}
	dir := t.TempDir()
	c := &Cluster{Address: child.FreeAddr(t)}
	_, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	details := filepath.Join(dir, "details.json")
	args := []string{"-Xmx400m", "-Dtest.build.data=" + dir, "-Dhadoop.tmp.dir=" + dir, "-cp", filepath.Join(jars, "*"),
		"org.apache.hadoop.test.MiniDFSClusterManager", "-format", "-datanodes", "1", "-nnport", port, "-writeDetails", details}
	for _, s := range append(settings, "dfs.namenode.fs-limits.min-block-size=4096") {
		args = append(args, "-D", s)
	}
	c.Process = child.Start(t, child.Spec{
		Name: "HDFS", Program: "java", Args: args, Dir: dir, Patience: 3 * time.Minute,
		Env: []string{"HADOOP_CONF_DIR=" + dir, "HADOOP_HOME=" + dir},
		Ready: func() bool {
			text, err := os.ReadFile(details)
			return err == nil && json.Valid(text)
		},
	})
	return c
}

// URL is a storage path in the cluster.
func (c *Cluster) URL(path string) string { return "hdfs://" + c.Address + "/" + path }

// hadoop gives the directory of the jars.
func hadoop() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	pom := filepath.Join(filepath.Dir(here), "pom.xml")
	dir, err := child.Tool("hadoop-3.4.1", func(dir string) error {
		return child.Run(dir, nil, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+filepath.Join(dir, "jars"))
	})
	return filepath.Join(dir, "jars"), err
}
