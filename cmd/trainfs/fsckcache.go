package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/trainfs/trainfs/cache"
)

// fsckCacheDir says what is wrong in a cache directory that is not mounted, and repairs it.
func fsckCacheDir(dir string, dryRun, asJSON bool, out io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	r, err := cache.CheckDir(dir, !dryRun)
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprint(out, dirText(r))
	}
	if !r.Sound() {
		if dryRun {
			return fmt.Errorf("%s: not repaired, because of --dry-run", countText(len(r.Problems), "problem"))
		}
		return fmt.Errorf("%s: not everything could be set aside; is lost+found writable?", countText(len(r.Problems), "problem"))
	}
	return nil
}

func dirText(r *cache.DirReport) string {
	text := fmt.Sprintf("%s: node %s, for %s\n", r.Dir, r.Node, r.Source)
	text += fmt.Sprintf("%s in the journal; %s, %d of them to be uploaded or compared (%d bytes); %s to be carried out\n",
		countText(r.Records, "record"), countText(r.Files, "file"), r.Dirty, r.Bytes, countText(r.Deletions, "deletion"))
	for _, unit := range r.Torn {
		text += fmt.Sprintf("torn: %s: a crash found it half written; write it again, or delete it\n", oneLine(unit))
	}
	for _, name := range r.LostFound {
		text += fmt.Sprintf("set aside: %s: compare it with what the mount shows, then delete it\n", oneLine(filepath.Join(r.Dir, "lost+found", name)))
	}
	for _, p := range r.Problems {
		done := "next mount or fsck without --dry-run"
		if p.Repaired {
			done = "repaired"
		}
		text += fmt.Sprintf("%s\n  %s: %s\n", oneLine(p.What), done, p.Remedy)
	}
	if len(r.Problems) == 0 {
		text += "sound\n"
	}
	return text
}
