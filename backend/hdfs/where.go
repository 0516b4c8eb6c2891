package hdfs

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"

	"github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"

	"github.com/trainfs/trainfs/backend"
)

const defaultPort = "8020" // of a name node's RPC

// place is where the objects are, and how their files are made.
type place struct {
	root        string // an absolute path
	replication int    // 0: the cluster's default
	blockSize   int64  // bytes; 0: the cluster's default
}

// resolve finds the name nodes of a location: those of the URL, or, if its host is the
// name of a service in Hadoop's configuration (HADOOP_CONF_DIR) or there is none, those
// that stand there.
func resolve(loc backend.Location) (place, hdfs.ClientOptions, error) {
	conf, err := hadoopconf.LoadFromEnvironment()
	if err != nil {
		return place{}, hdfs.ClientOptions{}, backend.OpenError(backend.ErrConfig, err, "Hadoop's configuration cannot be read")
	}
	options := hdfs.ClientOptionsFromConf(conf)
	if options.KerberosClient != nil {
		return place{}, options, backend.OpenError(backend.ErrConfig, nil, "Hadoop's configuration asks for Kerberos, which trainfs does not speak: use a cluster with simple authentication, or a gateway that speaks S3")
	}
	if host := loc.Bucket; host != "" && !isService(conf, host) {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
		}
		options.Addresses = []string{host}
	}
	if len(options.Addresses) == 0 {
		return place{}, options, backend.OpenError(backend.ErrConfig, nil, "no name node: write hdfs://host:port/path, or let HADOOP_CONF_DIR lead to a configuration that names one")
	}
	options.User = userName(loc.Params["user"])
	options.NamenodeDialFunc, options.DatanodeDialFunc = dialNameNode, dialDataNode(ioTimeout)
	p := place{root: path.Clean(loc.Path())}
	p.replication, _ = strconv.Atoi(loc.Params["replication"])
	p.blockSize, _ = strconv.ParseInt(loc.Params["default_block_size"], 10, 64)
	return p, options, nil
}

// isService tells that host is a name for several name nodes.
func isService(conf hadoopconf.HadoopConf, host string) bool {
	for service := range strings.SplitSeq(conf["dfs.nameservices"], ",") {
		if strings.TrimSpace(service) == host {
			return true
		}
	}
	return false
}

func userName(asked string) string {
	if asked != "" {
		return asked
	}
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}
