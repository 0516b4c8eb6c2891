package uploader

import "testing"

// A directory that a listing shows as empty can be removed, and replaced by a rename: what is
// left here of a checkpoint that another node has deleted is not in the way.
func TestDirectoryOfACheckpointThatAnotherNodeHasDeletedIsEmpty(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"rmdir", "rename"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			store := newFaulty()
			a, b := startNode(t, store), startNode(t, store)
			const unit = "run/t2/checkpoint_000000"
			a.mkdir("run")
			a.mkdir("run/t2")
			a.mkdir(unit)
			a.write(unit+"/f0", "f0")
			a.write("run/t2/notes", "keeps the directory")
			a.wait()
			eventually(t, "the other node sees it", func() bool { return b.names("run/t2") == "checkpoint_000000 notes" })
			b.read(unit + "/f0")
			a.unlink(unit + "/f0")
			if err := a.Rmdir(ctx, unit); err != nil {
				t.Fatal(err)
			}
			a.unlink("run/t2/notes")
			a.wait()
			eventually(t, "the other node sees that it is gone", func() bool { return b.names("run/t2") == "" })
			switch how {
			case "rmdir":
				if err := b.Rmdir(ctx, "run/t2"); err != nil {
					t.Error(err)
				}
			case "rename":
				b.mkdir("run/logs")
				b.write("run/logs/c", "c")
				if err := b.Rename(ctx, "run/logs", "run/t2", 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
