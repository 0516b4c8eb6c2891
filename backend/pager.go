package backend

import (
	"errors"
	"strings"
)

// ErrPageFull ends the walk of a [Pager] when the page is full and there is more.
var ErrPageFull = errors.New("page is full")

// Pager fills a page of List for a store that walks directories, in the byte order of
// keys; those of directories end in '/'.
type Pager struct {
	ListOptions
	Page Page
	last string
}

// NewPager bounds the page: at most limit, whatever the caller wants.
func NewPager(o ListOptions, limit int) *Pager {
	if o.Limit <= 0 || o.Limit > limit {
		o.Limit = limit
	}
	return &Pager{ListOptions: o}
}

// Start is the key of the deepest directory that the prefix names whole; "" for the root.
func (p *Pager) Start() string { return p.Prefix[:strings.LastIndexByte(p.Prefix, '/')+1] }

// Skip tells that nothing at or below key belongs on this page: it has another prefix, or
// was on an earlier page.
func (p *Pager) Skip(key string) bool {
	return !strings.HasPrefix(key, p.Prefix) || key <= p.Token && (p.Grouped(key) || !strings.HasPrefix(p.Token, key))
}

// Grouped tells that key is reported alone, for what lies below it or because nothing can.
func (p *Pager) Grouped(key string) bool {
	return !strings.HasSuffix(key, "/") || p.Shallow && key != p.Prefix
}

// Add reports an object. ErrPageFull.
func (p *Pager) Add(obj Object) error {
	if err := p.room(obj.Key); err != nil {
		return err
	}
	p.Page.Objects = append(p.Page.Objects, obj)
	return nil
}

// AddPrefix reports all that lies below key. ErrPageFull.
func (p *Pager) AddPrefix(key string) error {
	if err := p.room(key); err != nil {
		return err
	}
	p.Page.Prefixes = append(p.Page.Prefixes, key)
	return nil
}

// room makes a place for key, or sets the token for the next page.
func (p *Pager) room(key string) error {
	if len(p.Page.Objects)+len(p.Page.Prefixes) == p.Limit {
		p.Page.Token = p.last
		return ErrPageFull
	}
	p.last = key
	return nil
}
