package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// slugBytes bounds the readable part of a cache folder's name; NAME_MAX is 255.
const slugBytes = 100

// chooseCacheDir says where the cache lies. One that was given is used as it is. A base
// from the environment or by default gets one folder a storage path, so that two storage
// paths never share a cache.
//
// from says which of the two it was, in words.
func chooseCacheDir(given, identity string, env environ) (dir, from string, err error) {
	if given != "" {
		dir, err = filepath.Abs(given)
		return dir, "", err
	}
	base, from := cacheBase(env)
	if base == "" {
		return "", "", usagef("no place for the cache: HOME is not known; give cache_dir=, or set TRAINFS_CACHE_DIR")
	}
	dir, err = filepath.Abs(filepath.Join(base, cacheFolder(identity)))
	return dir, from, err
}

func cacheBase(env environ) (base, from string) {
	for _, name := range []string{"TRAINFS_CACHE_DIR", "RAY_AIR_LOCAL_CACHE_DIR"} {
		if dir := env.getenv(name); dir != "" {
			return dir, "environment " + name
		}
	}
	if env.uid == 0 {
		return "/var/cache/trainfs", "default"
	}
	// XDG base directory specification: relative values are to be ignored.
	if dir := env.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "trainfs"), "environment XDG_CACHE_HOME"
	}
	if env.home == "" {
		return "", ""
	}
	return filepath.Join(env.home, ".cache", "trainfs"), "default"
}

// cacheFolder names the folder of a storage path: readable, and told apart from all that
// read alike by a hash. identity must be the same whenever the store and path are.
func cacheFolder(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	slug := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, identity), "-.")
	for strings.Contains(slug, "--") {
		slug = strings.ReplaceAll(slug, "--", "-")
	}
	if len(slug) > slugBytes {
		slug = slug[:slugBytes]
	}
	return slug + "-" + hex.EncodeToString(sum[:4])
}

// completeEnvironment gives the process the HOME and PATH that mount(8), systemd and cron
// may leave out: credential files are looked for in the one, fusermount3 in the other. It
// returns the home directory, "" if there is none.
func completeEnvironment(uid int) string {
	if os.Getenv("PATH") == "" {
		os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if home := os.Getenv("HOME"); home != "" {
		return home
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil || u.HomeDir == "" {
		return ""
	}
	os.Setenv("HOME", u.HomeDir)
	return u.HomeDir
}
