// Package minihdfs runs a real HDFS for tests: Hadoop's own name node and data node, in one
// child process, on the loopback interface. Data nodes that a test wants to lose run in
// processes of their own. It needs Java and Maven, which fetches Hadoop the first time.
//
// Without them, or without a way to fetch it, tests are skipped, unless TRAINFS_TEST_HDFS
// is set.
//
// minihdfs imports backend/storetest/child.
package minihdfs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// Cluster is a running one.
type Cluster struct {
	*child.Process
	Address string // of the name node's RPC, 127.0.0.1:port

	jars, web string // web is the address of the name node's pages
}

// Start runs a cluster of one data node until the test ends. settings are properties of
// Hadoop's configuration, NAME=VALUE.
func Start(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	return start(t, 1, settings)
}

func start(t testing.TB, dataNodes int, settings []string) *Cluster {
	t.Helper()
	jars, err := hadoop()
	if err != nil && os.Getenv("TRAINFS_TEST_HDFS") == "" {
		t.Skipf("no HDFS: %v (make stores installs it, and fails without)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &Cluster{Address: child.FreeAddr(t), web: child.FreeAddr(t), jars: jars}
	details := filepath.Join(dir, "details.json")
	args := []string{"-Xmx400m", "-Dtest.build.data=" + dir, "-Dhadoop.tmp.dir=" + dir, "-cp", filepath.Join(jars, "*"),
		"org.apache.hadoop.test.MiniDFSClusterManager", "-format", "-datanodes", strconv.Itoa(dataNodes),
		"-nnport", portOf(c.Address), "-httpport", portOf(c.web), "-writeDetails", details}
	c.Process = child.Start(t, child.Spec{
		Name: "HDFS", Program: "java", Args: withSettings(args, append(settings, "dfs.namenode.fs-limits.min-block-size=4096")),
		Dir: dir, Env: environment(dir), Patience: patience,
		Ready: func() bool {
			text, err := os.ReadFile(details)
			return err == nil && json.Valid(text)
		},
	})
	return c
}

const patience = 3 * time.Minute

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

func withSettings(args, settings []string) []string {
	for _, s := range settings {
		args = append(args, "-D", s)
	}
	return args
}

// environment keeps a machine's own Hadoop out.
func environment(dir string) []string {
	return []string{"HADOOP_CONF_DIR=" + dir, "HADOOP_HOME=" + dir}
}

// Admin runs a command of hdfs dfsadmin.
func (c *Cluster) Admin(t testing.TB, args ...string) {
	t.Helper()
	args = append([]string{"-cp", filepath.Join(c.jars, "*"), "org.apache.hadoop.hdfs.tools.DFSAdmin", "-fs", "hdfs://" + c.Address}, args...)
	if out, err := exec.CommandContext(t.Context(), "java", args...).CombinedOutput(); err != nil {
		t.Fatalf("dfsadmin %v: %v\n%s", args, err, out)
	}
}

// URL is a storage path in the cluster.
func (c *Cluster) URL(path string) string { return "hdfs://" + c.Address + "/" + path }

// hadoop gives the directory of the jars.
func hadoop() (string, error) {
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("no %s: install default-jre-headless and maven (scripts/setup --hdfs does)", program)
		}
	}
	_, here, _, _ := runtime.Caller(0)
	pom := filepath.Join(filepath.Dir(here), "pom.xml")
	dir, err := child.Tool("hadoop-3.4.1", func(dir string) error {
		return child.Run(dir, nil, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+filepath.Join(dir, "jars"))
	})
	return filepath.Join(dir, "jars"), err
}
