package fusefs

import "golang.org/x/sys/unix"

// mountFlags are the words that mount(2) takes as flags and not as text. What is set
// for every mount can not be cleared: suid and dev are accepted, as fstab's "defaults"
// means them, and without effect (see the package comment).
var mountFlags = map[string]struct{ set, clear uintptr }{
	"nosuid": {}, "suid": {}, "nodev": {}, "dev": {},
	"rw":     {clear: unix.MS_RDONLY},
	"ro":     {set: unix.MS_RDONLY},
	"exec":   {clear: unix.MS_NOEXEC},
	"noexec": {set: unix.MS_NOEXEC},
	"async":  {clear: unix.MS_SYNCHRONOUS},
	"sync":   {set: unix.MS_SYNCHRONOUS},
	"atime":  {clear: unix.MS_NOATIME}, "noatime": {set: unix.MS_NOATIME},
	"diratime": {clear: unix.MS_NODIRATIME}, "nodiratime": {set: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"dirsync": {set: unix.MS_DIRSYNC},
}

// helperWords are the flags that fusermount3 knows, for mounting without privileges.
var helperWords = []struct {
	flag uintptr
	word string
}{
	{unix.MS_RDONLY, "ro"}, {unix.MS_NOEXEC, "noexec"}, {unix.MS_SYNCHRONOUS, "sync"},
	{unix.MS_NOATIME, "noatime"}, {unix.MS_NODIRATIME, "nodiratime"}, {unix.MS_DIRSYNC, "dirsync"},
}

// mountOptions splits the options into text for the file system and flags. Later words
// win, ReadOnly over all.
//
// default_permissions is always there. With allow_other it is what protects users from
// each other; without, it makes the kernel check the modes of remote files as it does
// those of local ones, and saves asking the daemon at every access(2).
func mountOptions(cfg Config, direct bool) (words []string, flags uintptr) {
	words = []string{"default_permissions"}
	for _, word := range cfg.Options {
		f, known := mountFlags[word]
		switch {
		case known:
			flags = flags&^f.clear | f.set
		case word != "default_permissions" && word != "allow_other" && word != "":
			words = append(words, word)
		}
	}
	if cfg.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if direct {
		return words, flags | unix.MS_NOSUID | unix.MS_NODEV
	}
	for _, h := range helperWords { // fusermount3 adds nosuid and nodev itself
		if flags&h.flag != 0 {
			words = append(words, h.word)
		}
	}
	return words, 0
}
