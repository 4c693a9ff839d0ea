//go:build unix

package dlq

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile keeps two replays of one file apart, until f is closed.
func lockFile(path string, f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%s is being replayed by another process", path)
	case err != nil:
		return fmt.Errorf("%s: lock: %w", path, err)
	}
	return nil
}
