package hdfs

import (
	"path"
	"strings"
)

const (
	stagingDir = ".trainfs/v1/staging"
	tempSuffix = ".tmp"  // of a file in it that is being written
	lockSuffix = ".lock" // of one that is a lock

	// colonStandIn is in HDFS what a colon is in a key.
	colonStandIn = '\uf03a'
)

// reserved tells that key is the staging directory or in it.
func reserved(key string) bool { return strings.HasPrefix(key+"/", stagingDir+"/") }

// path gives the file of a key, or the directory of a marker's.
func (s *Store) path(key string) string {
	return path.Join(s.where.root, strings.ReplaceAll(key, ":", string(colonStandIn)))
}

// keyName is a name of HDFS as a part of a key.
func keyName(name string) string { return strings.ReplaceAll(name, string(colonStandIn), ":") }

// parent gives the key of the directory that key is in, "" for the root.
func parent(key string) string {
	dir := path.Dir(strings.TrimSuffix(key, "/"))
	if dir == "." {
		return ""
	}
	return dir + "/"
}
