//go:build !linux || 386 || s390x

package sources

import "syscall"

// bufferedConn is a socket with a receive buffer.
type bufferedConn interface {
	syscall.Conn
	SetReadBuffer(bytes int) error
}

// kernelDrops is unknown here.
func kernelDrops(syscall.Conn) (uint32, bool) { return 0, false }

// receiveBuffer is unknown here.
func receiveBuffer(syscall.Conn) (int64, bool) { return 0, false }
