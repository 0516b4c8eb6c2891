package hdfs

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
)

const safeModeException = "org.apache.hadoop.hdfs.server.namenode.SafeModeException"

// exceptions says what a name node's refusal means; what is not in it may heal: safe mode,
// a quota, too few data nodes.
var exceptions = map[string]error{
	"org.apache.hadoop.fs.ParentNotDirectoryException":                               backend.ErrInvalidKey,
	"org.apache.hadoop.fs.InvalidPathException":                                      backend.ErrInvalidKey,
	"org.apache.hadoop.fs.PathIsNotDirectoryException":                               backend.ErrInvalidKey,
	"org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException": backend.ErrInvalidKey,
	"org.apache.hadoop.security.AccessControlException":                              backend.ErrDenied,
	"org.apache.hadoop.security.authorize.AuthorizationException":                    backend.ErrDenied,
}

// exceptionOf is the Java class of what the cluster threw, or "".
func exceptionOf(err error) string {
	var remote hdfs.Error
	if errors.As(err, &remote) {
		return remote.Exception()
	}
	return ""
}

// fail makes a store's error of the client's, unless it is one already.
func fail(op, key string, err error) error {
	var already *backend.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	e := &backend.Error{Op: op, Key: key, Kind: exceptions[exceptionOf(err)], Err: brief(err)}
	for is, kind := range map[error]error{
		os.ErrPermission: backend.ErrDenied,
		os.ErrInvalid:    backend.ErrInvalidKey,
		syscall.ENOTDIR:  backend.ErrInvalidKey,
	} {
		if errors.Is(err, is) {
			e.Kind = kind
		}
	}
	for _, kind := range []error{backend.ErrChecksum, backend.ErrNoStage, backend.ErrExist, backend.ErrNotExist, backend.ErrChanged} {
		if errors.Is(err, kind) {
			e.Kind = kind
		}
	}
	if e.Kind == nil && errors.Is(err, os.ErrNotExist) {
		e.Kind = backend.ErrNotExist
	}
	return e
}

// brief is err with the first line of a Java stack trace instead of all of it.
func brief(err error) error {
	var remote hdfs.Error
	if !errors.As(err, &remote) {
		return err
	}
	first, _, _ := strings.Cut(remote.Message(), "\n")
	class := remote.Exception()
	return &shortened{text: class[strings.LastIndexByte(class, '.')+1:] + ": " + first, err: err}
}

type shortened struct {
	text string
	err  error
}

func (s *shortened) Error() string { return s.text }
func (s *shortened) Unwrap() error { return s.err }

func missing(err error) bool { return errors.Is(err, os.ErrNotExist) }
