package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trainfs/trainfs/cache"
)

const (
	// fsName makes /proc/mounts show the type fuse.trainfs.
	fsName = "trainfs"
	fsType = "fuse." + fsName

	// maxIO is the largest READ and WRITE. The kernel takes 1 MiB without a change of
	// /proc/sys/fs/fuse/max_pages_limit.
	maxIO = 1 << 20
	// maxBackground is how many read-aheads may be under way; the kernel's default of 12
	// is soon used up by the loaders of a few GPUs.
	maxBackground = 64
	// stackDepth lets the cache lie on a file system that itself lies on another, such as
	// a container's overlayfs. It is the kernel's own limit (FILESYSTEM_MAX_STACK_DEPTH),
	// and the mount counts as that deep: no overlayfs can be put on top of it.
	stackDepth = 2
)

// Config says where and how to mount.
type Config struct {
	MountPoint string
	Source     string // shown in /proc/mounts; must not hold credentials
	AllowOther bool   // let other users in; the kernel checks permissions in any case
	ReadOnly   bool

	// Passthrough asks for reads and writes that bypass the daemon.
	Passthrough bool

	// How long the kernel may keep attributes, names, and the absence of a name. With
	// NegativeTimeout 0, absence is never kept.
	AttrTimeout, EntryTimeout, NegativeTimeout time.Duration

	Options []string // further mount options for the kernel: noexec, noatime, …
	Debug   bool     // log every request
	Logger  *slog.Logger

	// Observe is told how long each request took, one of Ops; nil: nobody wants to know. It
	// is called from many goroutines, and holds up the request.
	Observe func(op string, took time.Duration)
}

// Server is a mount.
type Server struct {
	vfs         vfs
	log         *slog.Logger
	uid         uint32 // who mounted
	attrTimeout time.Duration
	failures    limiter
	handles     handles
	passthrough passthrough
	backings    backings
	clashed     sync.Once

	fuse *fuse.Server
	done chan struct{} // closed when no request is or will be served
}

// Mount mounts v and returns when the mount answers. It blocks for as long as v needs
// to answer Stat of the root.
func Mount[H Handle](v VFS[H], cfg Config) (*Server, error) {
	return mount(erased[H]{v}, cfg)
}

func mount(v vfs, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{
		vfs: v, log: cfg.Logger, uid: uint32(os.Geteuid()),
		attrTimeout: cfg.AttrTimeout, done: make(chan struct{}),
	}
	root, err := v.Stat(context.Background(), "")
	if err != nil {
		return nil, fmt.Errorf("mount %s: root of the cache: %w", cfg.MountPoint, err)
	}
	opts := s.options(cfg, &root)
	node := &Node{s: s}
	var raw fuse.RawFileSystem = &guard{fs.NewNodeFS(node, opts), s}
	if cfg.Observe != nil {
		raw = &timed{raw, cfg.Observe}
	}
	s.fuse, err = fuse.NewServer(raw, cfg.MountPoint, &opts.MountOptions)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", cfg.MountPoint, explain(err, cfg))
	}
	if err := closeDeviceOnExec(); err != nil {
		s.log.Warn("a program started by this process may keep the mount from failing when it should", "err", err)
	}
	s.passthrough.decide(s, cfg)

	go func() {
		defer close(s.done)
		s.fuse.Serve()
		s.handles.releaseAll()
	}()
	if err := s.fuse.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", cfg.MountPoint, err), s.Unmount())
	}
	if err := setReadAhead(cfg.MountPoint, maxIO); err != nil {
		s.log.Debug("read-ahead stays as it is", "err", err)
	}
	return s, nil
}

func (s *Server) options(cfg Config, root *cache.Info) *fs.Options {
	asRoot := os.Geteuid() == 0
	words, flags := mountOptions(cfg, asRoot)
	opts := &fs.Options{
		AttrTimeout:     &cfg.AttrTimeout,
		EntryTimeout:    &cfg.EntryTimeout,
		NullPermissions: true, // a file of mode 0 has mode 0
		RootStableAttr:  &fs.StableAttr{Ino: root.Ident, Gen: root.Gen},
		Logger:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		MountOptions: fuse.MountOptions{
			FsName: cfg.Source, Name: fsName,
			AllowOther: cfg.AllowOther, Options: words,
			// As root no helper program is needed, nor wanted: its errors say less.
			DirectMountStrict: asRoot, DirectMountFlags: flags,
			MaxWrite: maxIO, MaxReadAhead: maxIO, MaxBackground: maxBackground, MaxStackDepth: stackDepth,
			ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ATOMIC_O_TRUNC,
			// With READDIRPLUS the kernel would have us look up every name of every
			// listing. ls -l and its like look up what they need.
			DisableReadDirPlus:   true,
			IgnoreSecurityLabels: true,
			// A pipe is too small for maxIO and its header: go-fuse would try, log that, and
			// copy. Nor is copying slower for what fits.
			DisableSplice: true,
			PanicHandler:  s.panicked,
			Debug:         cfg.Debug,
			Logger:        slog.NewLogLogger(s.log.Handler(), slog.LevelInfo),
		},
	}
	if !cfg.Passthrough {
		opts.DisabledCapabilities = fuse.CAP_PASSTHROUGH
	}
	if cfg.NegativeTimeout > 0 {
		opts.NegativeTimeout = &cfg.NegativeTimeout
	}
	return opts
}

// Wait returns when the mount is gone, by whomever, all requests are answered and all
// handles are released.
func (s *Server) Wait() { <-s.done }

// Unmount takes the mount away, and waits for what is under way. While files are open
// or a process is inside, it is EBUSY; [Unmount] can then detach it.
func (s *Server) Unmount() error {
	if s.gone() {
		return nil // and what is mounted there now is somebody else's
	}
	if err := s.fuse.Unmount(); err != nil && !s.gone() {
		return fmt.Errorf("unmount: %w", err)
	}
	<-s.done
	return nil
}

func (s *Server) gone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// panicked answers a request whose handling panicked. go-fuse recovers around every
// request; all this process holds for it is at worst one leaked handle.
func (s *Server) panicked(what any) fuse.Status {
	s.log.Error("panic in a file system request", "err", fmt.Sprint(what), "stack", string(debug.Stack()))
	return fuse.EIO
}

// explain adds to an error of mounting what to do about it.
func explain(err error, cfg Config) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EPERM) && os.Geteuid() == 0:
		hint = "mounting needs CAP_SYS_ADMIN, and /dev/fuse allowed for the container"
	case errors.Is(err, exec.ErrNotFound):
		hint = "install fusermount3 (package fuse3), or mount as root"
	case errors.Is(err, syscall.EINVAL) && len(cfg.Options) > 0:
		hint = "the kernel may not know one of the mount options"
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENOENT):
		if _, serr := os.Stat("/dev/fuse"); serr == nil {
			return err
		}
		hint = "there is no /dev/fuse: modprobe fuse, or hand it to the container"
	case os.Geteuid() != 0 && cfg.AllowOther:
		hint = "allow_other needs user_allow_other in /etc/fuse.conf"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, hint)
}
