//go:build unix

package sources

import (
	"io/fs"
	"syscall"
)

// fileID tells files apart, whatever they are called at the moment.
type fileID struct{ device, inode uint64 }

func idOf(fi fs.FileInfo) fileID {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), uint64(st.Ino)}
	}
	return fileID{}
}
