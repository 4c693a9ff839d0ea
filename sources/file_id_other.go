//go:build !unix

package sources

import (
	"hash/fnv"
	"io/fs"
)

// fileID tells files apart. Where the system has no inodes it follows from the
// name, so that a renamed file counts as a new one.
type fileID struct{ device, inode uint64 }

func idOf(fi fs.FileInfo) fileID {
	h := fnv.New64a()
	h.Write([]byte(fi.Name()))
	return fileID{0, h.Sum64()}
}
