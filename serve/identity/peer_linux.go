package identity

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// PeerUID is the operating system's user at the other end of a Unix socket, as
// the kernel knows it (SO_PEERCRED, unix(7)).
func PeerUID(c net.Conn) (uint32, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("ask who is at the other end: it is no Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask who is at the other end: %w", err)
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("ask who is at the other end: %w", err)
	}
	return cred.Uid, nil
}
