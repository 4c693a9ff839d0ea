//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package sources

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder makes sure that no other source reads the folder: the lock ends with
// the process, whatever happens to it.
func lockFolder(path string) (unlock func(), err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another source reads this folder: give each one a folder of its own")
		}
		return nil, err
	}
	return func() { d.Close() }, nil
}
