package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// mountRequest is what a command line asks for, whichever form it had.
type mountRequest struct {
	source     string // "" takes RAY_STORAGE
	mountPoint string
	options    []string // -o strings, in order
	sloppy     bool     // unknown options are skipped
	foreground bool
	daemon     bool // this process is the daemon
	fake       bool // check everything, mount nothing
	verbose    bool
	config     string // --config

	fstab, fstabFrom string // the options of a line of fstab, when mount(8) has not merged them
}

// lists are all -o strings, the weakest first.
func (r *mountRequest) lists() []optionList {
	var lists []optionList
	if r.fstab != "" {
		lists = append(lists, optionList{r.fstab, r.fstabFrom})
	}
	if r.config != "" {
		lists = append(lists, optionList{joinOption("config", r.config), "flag --config"})
	}
	for _, o := range r.options {
		lists = append(lists, optionList{o, "flag -o"})
	}
	return lists
}

// read puts together what file, environment and options say.
func (r *mountRequest) read(env environ) (*Config, []string, error) {
	c := newConfig()
	file, _, err := r.findConfigFile(env)
	if err == nil && file != "" {
		err = c.applyFile(file)
	}
	if err == nil {
		err = c.applyEnvironment(env)
	}
	if err != nil {
		return nil, nil, err
	}
	skipped, err := c.apply(r.lists(), r.sloppy)
	if err != nil {
		return nil, nil, err
	}
	c.ConfigFile = file // the option may have a relative path
	if r.source != "" {
		c.Source, c.sourceFrom = r.source, "argument"
	}
	if r.mountPoint != "" {
		c.MountPoint = r.mountPoint
	}
	return c, skipped, nil
}

// resolved is the whole Config of the request, checked as far as can be without network.
func (r *mountRequest) resolved(env environ) (*Config, []string, error) {
	c, skipped, err := r.read(env)
	if err != nil {
		return nil, nil, err
	}
	if c.MountPoint == "" {
		return nil, nil, usagef("no mount point; the form is: trainfs mount [-o OPTIONS] SOURCE MOUNTPOINT")
	}
	return c, skipped, c.resolve(env)
}

// mount does what the request asks for, and returns once the mount answers; in the
// foreground, and in the daemon, once it has ended.
func (r *mountRequest) mount(ctx context.Context, stderr io.Writer) error {
	if r.daemon {
		return r.runDaemon(ctx)
	}
	c, skipped, err := r.resolved(processEnviron())
	if err != nil {
		return err
	}
	for _, name := range skipped {
		fmt.Fprintf(stderr, "trainfs: option %s is unknown; ignored\n", name)
	}
	switch {
	case r.fake:
		return nil
	case r.foreground:
		return runForeground(ctx, c, stderr)
	}
	if r.verbose {
		fmt.Fprintf(stderr, "trainfs: mounting %s at %s, cache directory %s\n", c.Source, c.MountPoint, c.CacheDir)
	}
	warnings, err := startDaemon(ctx, r.daemonArgs(c), c.MountTimeout)
	for _, w := range warnings {
		fmt.Fprintf(stderr, "trainfs: warning: %s\n", w)
	}
	return err
}

// daemonArgs is the daemon's command line. It says all that the daemon needs, so that it
// does not depend on where and in which environment mount was called; and ps shows it.
func (r *mountRequest) daemonArgs(c *Config) []string {
	args := []string{"mount", "--" + daemonFlag}
	if r.sloppy {
		args = append(args, "-s")
	}
	for _, o := range r.options {
		args = append(args, "-o", o)
	}
	args = append(args, "-o", joinOption("cache_dir", c.CacheDir))
	if c.LogFile != "" {
		args = append(args, "-o", joinOption("log_file", c.LogFile))
	}
	if c.ConfigFile != "" {
		args = append(args, "-o", joinOption("config", c.ConfigFile))
	}
	return append(args, "--", c.Source, c.MountPoint)
}

// runForeground serves in this process until the mount ends.
func runForeground(ctx context.Context, c *Config, stderr io.Writer) error {
	sink := newLogSink(stderr)
	defer sink.Close()
	ready := func(warnings []string) error {
		for _, w := range warnings {
			fmt.Fprintf(stderr, "trainfs: warning: %s\n", w)
		}
		return nil
	}
	return serveMount(ctx, c, sink, c.LogFile, true, ready)
}

// runDaemon is the daemon: it reports to the process that started it, and then serves.
func (r *mountRequest) runDaemon(ctx context.Context) error {
	rep := newReporter()
	c, _, err := r.resolved(processEnviron())
	if err != nil {
		return told(errors.Join(err, rep.send(err, nil)))
	}
	logFile := c.LogFile
	if logFile == "" {
		logFile = filepath.Join(c.CacheDir, "trainfs.log")
	}
	// What goes wrong before there is a log file is in the report; stderr is for the last
	// words of this process, and those of fusermount3.
	sink := newLogSink(io.Discard)
	defer sink.Close()
	err = serveMount(ctx, c, sink, logFile, false, func(warnings []string) error {
		return errors.Join(sink.takeStderr(), rep.send(nil, warnings))
	})
	if err != nil && rep.sent() { // nobody listens any more
		newLogger(sink, slog.LevelInfo, c.LogFormat).Error("stopped", "err", err)
		return told(err)
	}
	return told(errors.Join(err, rep.send(err, nil)))
}

// serveMount mounts and serves. A log file inside the cache directory is opened once the
// cache is known to be ours.
func serveMount(ctx context.Context, c *Config, sink *logSink, logFile string, foreground bool, ready func(warnings []string) error) error {
	boundGarbage()
	level := newLogLevel(c.LogLevel, c.Debug)
	log := newLogger(sink, level, c.LogFormat)
	defer level.toggleOnSignal(log)()
	ctx, stopSignals := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stopSignals()
	context.AfterFunc(ctx, stopSignals) // a second signal ends the process at once; the journal is safe
	signal.Ignore(unix.SIGPIPE)
	unix.Umask(0) // modes of files in the mount are the caller's, already masked by its own

	warnings, err := checkMountPoint(c)
	if err != nil {
		return err
	}
	if c.LogFile != "" {
		if err := sink.openFile(logFile); err != nil {
			return err
		}
	}
	p, err := buildParts(ctx, c, log)
	if err != nil {
		return err
	}
	if err := saveMountFile(c); err != nil { // only trainfs flush misses it
		log.Warn("cannot note how the cache directory is mounted", "err", err)
	}
	if c.LogFile == "" && logFile != "" {
		if err := sink.openFile(logFile); err != nil {
			return errors.Join(err, p.close())
		}
	}
	defer reopenOnHangup(sink, log.Error)()
	s := &session{cfg: c, log: log, level: level, parts: p}
	if foreground {
		s.service = newService(log)
	}
	return s.run(ctx, func() error { return ready(warnings) })
}

// reopenOnHangup opens the log anew at every SIGHUP, until the returned function is called.
func reopenOnHangup(sink *logSink, complain func(msg string, args ...any)) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	var loop sync.WaitGroup
	loop.Go(func() {
		for range hangups {
			if err := sink.reopen(); err != nil {
				complain("reopen log file", "err", err)
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		loop.Wait()
	}
}
