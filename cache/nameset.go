package cache

// nameSet is what is known of the names of one directory: those of the last listing, packed,
// for there may be a million of them, and what has been learnt since.
type nameSet struct {
	packed  *packedNames // never changes; may be nil
	changed map[string]*remoteEntry
}

// get finds a name.
func (s *nameSet) get(name string) (remoteEntry, bool) {
	if e, ok := s.changed[name]; ok {
		if e == nil {
			return remoteEntry{}, false
		}
		return *e, true
	}
	return s.packed.get(name)
}

func (s *nameSet) set(name string, e remoteEntry) {
	if s.changed == nil {
		s.changed = map[string]*remoteEntry{}
	}
	s.changed[name] = &e
}

func (s *nameSet) remove(name string) {
	if _, ok := s.packed.get(name); !ok {
		delete(s.changed, name)
		return
	}
	if s.changed == nil {
		s.changed = map[string]*remoteEntry{}
	}
	s.changed[name] = nil
}

// len is about how many names it holds.
func (s *nameSet) len() int { return s.packed.len() + len(s.changed) }

// clone is a set that does not change with s.
func (s *nameSet) clone() nameSet {
	c := nameSet{packed: s.packed, changed: make(map[string]*remoteEntry, len(s.changed))}
	for name, e := range s.changed {
		c.changed[name] = e // entries are replaced, not changed
	}
	return c
}

// each calls f with every name.
func (s *nameSet) each(f func(name string, e *remoteEntry)) {
	for name, e := range s.changed {
		if e != nil {
			f(name, e)
		}
	}
	for i := range s.packed.len() {
		name, e := s.packed.at(i)
		if _, newer := s.changed[name]; !newer {
			f(name, &e)
		}
	}
}
