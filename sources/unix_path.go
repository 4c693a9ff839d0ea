package sources

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The values of socket.
const (
	socketStream   = "stream"
	socketDatagram = "datagram"
)

// maxSocketPath is how long the path of a socket may be; some systems allow a few
// bytes more.
const maxSocketPath = 100

// validateSocket checks the path and the mode of a socket file.
func validateSocket(field, path, mode string) (errs []error) {
	switch {
	case path == "":
		errs = append(errs, pipe.Fieldf(field, "a path is needed, such as /run/pipectl/in.sock"))
	case len(path) > maxSocketPath:
		errs = append(errs, pipe.Fieldf(field, "a path of %d bytes is too long for a socket: the most are %d", len(path), maxSocketPath))
	}
	if _, _, err := socketMode(mode); err != nil {
		errs = append(errs, &pipe.FieldError{Field: "mode", Err: err})
	}
	return errs
}

// socketMode reads permissions as people write them; set is false for none.
func socketMode(text string) (mode fs.FileMode, set bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return 0, false, fmt.Errorf("%q is no permission: write it in octal, such as \"0660\"", text)
	}
	return fs.FileMode(n), true, nil
}

// socketFile is the file of a bound socket.
type socketFile struct {
	path string
	info fs.FileInfo // to know it again
}

// bindSocket makes the file of a socket. bind is given another name, which gets
// its permissions before it becomes path: nobody can connect with others.
func bindSocket(path, mode string, datagram bool, bind func(path string) error) (socketFile, error) {
	f := socketFile{path: path}
	perm, set, err := socketMode(mode)
	if err != nil {
		return f, err
	}
	fresh := path + "~"
	for _, name := range []string{path, fresh} {
		if err := removeStale(name, datagram); err != nil {
			return f, err
		}
	}
	if err := bind(fresh); err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return f, fmt.Errorf("listen %s: %w", path, err)
	}
	if set {
		err = os.Chmod(fresh, perm)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err == nil {
		f.info, err = os.Lstat(path)
	}
	if err != nil {
		os.Remove(fresh)
		return f, fmt.Errorf("listen %s: %w", path, err)
	}
	return f, nil
}

// removeStale removes the file of a socket that nobody listens at any more, and
// nothing else.
func removeStale(path string, datagram bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("listen: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen %s: there is a file of this name that is no socket: remove it or change path", path)
	}
	for _, network := range networks(datagram) {
		c, err := net.Dial(network, path)
		if err == nil {
			c.Close()
			return fmt.Errorf("listen %s: another process listens there: change path or stop it", path)
		}
		if !nobodyListens(err) {
			return fmt.Errorf("listen %s: there is a socket, and whether somebody listens there cannot be told: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen %s: the socket that was left behind cannot be removed: %w", path, err)
	}
	return nil
}

// networks are the kinds of sockets to try: the file does not say of which it is.
func networks(datagram bool) []string {
	if datagram {
		return []string{"unixgram", "unix"}
	}
	return []string{"unix", "unixgram"}
}

// remove removes the file, if it is still this socket's.
func (f socketFile) remove() {
	if info, err := os.Lstat(f.path); err == nil && f.info != nil && os.SameFile(info, f.info) {
		os.Remove(f.path)
	}
}
