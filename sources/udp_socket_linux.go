//go:build !386 && !s390x

package sources

import (
	"syscall"
	"unsafe"
)

// bufferedConn is a socket with a receive buffer.
type bufferedConn interface {
	syscall.Conn
	SetReadBuffer(bytes int) error
}

const (
	soMemInfo    = 55 // SO_MEMINFO, since Linux 4.12
	memInfoDrops = 8  // SK_MEMINFO_DROPS
	memInfoWords = 9
)

// kernelDrops returns how many datagrams the kernel has dropped at conn since it
// was opened, modulo 2^32; false when it does not tell. Unlike SO_RXQ_OVFL, which
// comes along with the next datagram, it can be asked at any time.
func kernelDrops(conn syscall.Conn) (uint32, bool) {
	var info [16]uint32 // newer kernels may have more to say
	size := uint32(unsafe.Sizeof(info))
	ok := false
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		_, _, e := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soMemInfo,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = e == 0 && size >= 4*memInfoWords
	})
	return info[memInfoDrops], ok && err == nil
}

// receiveBuffer returns the size of the receive buffer in the unit of
// SetReadBuffer, and whether it is known. Linux doubles what it is asked for, to
// have room for its own records, and tells the doubled number.
func receiveBuffer(conn syscall.Conn) (n int64, known bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		size, e := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		n, known = int64(size/2), e == nil
	})
	return n, known && err == nil
}
