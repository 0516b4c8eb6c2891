package plugin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// Operations, as docs/plugins.md names them. Those that stand for a method of a Store have
// its name, which package backend gives.
const (
	opHello  = "hello"
	opOpen   = backend.OpOpen
	opRead   = "read"
	opWrite  = "write"
	opCancel = "cancel"
)

const (
	mostHeader = 16 << 20 // bytes of one line
	mostBody   = 64 << 20 // bytes behind it
	pieceSize  = 4 << 20  // of content that comes or goes in several messages
)

// message is a request to the program: one line of JSON, and body bytes behind it.
type message struct {
	ID int64  `json:"id"`
	Op string `json:"op"`

	// hello
	Version int               `json:"version,omitempty"`
	Path    string            `json:"path,omitempty"`
	Params  map[string]string `json:"params,omitempty"`

	Key      string        `json:"key,omitempty"`
	Keys     []string      `json:"keys,omitempty"`
	To       string        `json:"to,omitempty"`
	Prefix   string        `json:"prefix,omitempty"`
	Shallow  bool          `json:"shallow,omitempty"`
	Token    string        `json:"token,omitempty"`
	Limit    int           `json:"limit,omitempty"`
	Offset   int64         `json:"offset,omitempty"`
	Length   int64         `json:"length,omitempty"`
	ETag     string        `json:"etag,omitempty"`
	IfAbsent bool          `json:"if_absent,omitempty"`
	Attr     *backend.Attr `json:"attr,omitempty"`
	CRC32C   *uint32       `json:"crc32c,omitempty"`

	Stage *backend.Stage `json:"stage,omitempty"`
	Part  int            `json:"part,omitempty"`
	Parts []backend.Part `json:"parts,omitempty"`

	Body int64 `json:"body,omitempty"` // bytes behind the line
}

// answer is one to a message, or a sign of life.
type answer struct {
	ID      int64 `json:"id"`
	Working bool  `json:"working"` // not yet, but soon

	Error   *string `json:"error"` // a kind of error, or "" for what may heal
	Message string  `json:"message"`

	Version      int           `json:"version"`
	Capabilities *capabilities `json:"capabilities"`

	Object   *object         `json:"object"`
	Objects  []object        `json:"objects"`
	Prefixes []string        `json:"prefixes"`
	Token    string          `json:"token"`
	Stage    *backend.Stage  `json:"stage"`
	Stages   []backend.Stage `json:"stages"`
	Parts    []backend.Part  `json:"parts"`
	ETag     string          `json:"etag"`

	Body int64 `json:"body"`
	data []byte
}

type capabilities struct {
	MinPartSize     int64 `json:"min_part_size"`
	MaxPartSize     int64 `json:"max_part_size"`
	MaxParts        int   `json:"max_parts"`
	MaxSize         int64 `json:"max_size"`
	ConditionalPut  bool  `json:"conditional_put"`
	WholeFiles      bool  `json:"whole_files"`
	KeepsAttrInList bool  `json:"lists_attr"`
}

func (c capabilities) check() (backend.Capabilities, error) {
	if c.MaxSize < 1 || c.MaxPartSize < 1 || c.MaxParts < 1 || c.MinPartSize > c.MaxPartSize {
		return backend.Capabilities{}, errors.New("its capabilities allow no upload")
	}
	return backend.Capabilities{
		MinPartSize: max(c.MinPartSize, 1), MaxPartSize: c.MaxPartSize, MaxParts: c.MaxParts, MaxSize: c.MaxSize,
		ConditionalPut: c.ConditionalPut, WholeFiles: c.WholeFiles, KeepsAttrInList: c.KeepsAttrInList,
	}, nil
}

// object is a backend.Object in JSON.
type object struct {
	Key      string       `json:"key"`
	Size     int64        `json:"size"`
	ETag     string       `json:"etag"`
	Modified time.Time    `json:"modified,omitzero"`
	CRC32C   *uint32      `json:"crc32c,omitempty"`
	Attr     backend.Attr `json:"attr,omitzero"`
}

func (o object) backend() backend.Object {
	b := backend.Object{Key: o.Key, Size: o.Size, ETag: o.ETag, Modified: o.Modified, Attr: o.Attr}
	if o.CRC32C != nil {
		b.CRC32C, b.HasCRC32C = *o.CRC32C, true
	}
	return b
}

// errorKinds are the names of what a store can answer beside success.
var errorKinds = map[string]error{
	"not_exist": backend.ErrNotExist, "exist": backend.ErrExist, "changed": backend.ErrChanged,
	"no_stage": backend.ErrNoStage, "checksum": backend.ErrChecksum, "denied": backend.ErrDenied,
	"no_bucket": backend.ErrNoBucket, "invalid_key": backend.ErrInvalidKey, "too_large": backend.ErrTooLarge,
	"config": backend.ErrConfig, "unreachable": backend.ErrUnreachable, "": nil,
}

// failure is the error that an answer tells, if it does.
func (a *answer) failure(op string) error {
	if a.Error == nil {
		return nil
	}
	kind, known := errorKinds[*a.Error]
	if !known {
		return &backend.Error{Op: op, Err: fmt.Errorf("%s (unknown error %q)", a.Message, *a.Error)}
	}
	if a.Message == "" && kind == nil {
		a.Message = "the plug-in failed, and says no more"
	}
	if a.Message == "" {
		return &backend.Error{Op: op, Kind: kind}
	}
	return &backend.Error{Op: op, Kind: kind, Err: errors.New(a.Message)}
}

// readAnswer reads one answer with its body.
func readAnswer(r *bufio.Reader) (*answer, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	if err := json.Unmarshal(line, a); err != nil {
		return nil, fmt.Errorf("a line that is no JSON object: %.60q: %w", line, err)
	}
	if a.Body < 0 || a.Body > mostBody {
		return nil, fmt.Errorf("a body of %d bytes, at most %d are allowed", a.Body, mostBody)
	}
	a.data = make([]byte, a.Body)
	if _, err := io.ReadFull(r, a.data); err != nil {
		return nil, fmt.Errorf("its output ended in a body: %w", err)
	}
	return a, nil
}

func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, errors.New("its output ended in a line")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > mostHeader:
			return nil, fmt.Errorf("a line of more than %d bytes", mostHeader)
		}
	}
}
