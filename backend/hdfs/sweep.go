package hdfs

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

// staleAfter is longer than any upload takes: the time of a file that is being written is
// that of its beginning.
const staleAfter = 7 * 24 * time.Hour

// sweep removes what a client that died, or lost the name node, has left in the staging
// directory: temporary files, locks, and stages that were not begun to the end. Nobody
// depends on it, so it tells no errors. Unfinished stages are not its business: AbortStage
// removes them.
func (s *Store) sweep(ctx context.Context, olderThan time.Duration) {
	call(ctx, s, func(c *hdfs.Client) (struct{}, error) {
		infos, err := c.ReadDir(s.path(stagingDir))
		for _, info := range infos {
			name := path.Join(s.path(stagingDir), info.Name())
			if ctx.Err() != nil || time.Since(info.ModTime()) < olderThan {
				continue
			}
			if info.IsDir() {
				if _, err := c.Stat(path.Join(name, stageFile)); missing(err) {
					c.RemoveAll(name)
				}
			} else if strings.HasSuffix(name, tempSuffix) || strings.HasSuffix(name, lockSuffix) {
				c.Remove(name)
			}
		}
		return struct{}{}, err
	})
}
