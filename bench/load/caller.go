//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// caller is one connection. It is read and written by hand: the callers are on the
// server's processors, or its neighbours', and should take as little of them as
// they can; the client of net/http takes twice as much.
type caller struct {
	*load
	number int // its place among all
	socket socket
	conn   net.Conn  // the socket, with TLS or without; nil after a call that failed
	got    []byte    // of the answer
	due    time.Time // when the call under way was; zero when there is none
	since  time.Time // since when there is none
	late   time.Duration
}

// outcome is what became of a call.
type outcome struct {
	status int // 0 when there was no answer
	took   time.Duration
	late   time.Duration // that it was sent after it was due and the connection free
}

func (c *caller) dial() error {
	s, err := connect(c.address)
	if err != nil {
		return err
	}
	c.socket, c.conn, c.got = s, s, c.got[:0]
	if c.tls != nil {
		secured := tls.Client(s, c.tls)
		c.conn, err = secured, secured.Handshake()
	}
	if err == nil {
		err = unix.SetNonblock(int(s), true)
	}
	if err == nil {
		err = unix.EpollCtl(c.poll, unix.EPOLL_CTL_ADD, int(s), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.number)})
	}
	if err != nil {
		c.hangUp()
		return fmt.Errorf("connect to %v: %w", c.address, err)
	}
	return nil
}

// hangUp closes the connection; the next call makes another.
func (c *caller) hangUp() {
	c.socket.Close() // it is of no use any more
	c.conn = nil
}

// begin sends the request.
func (c *caller) begin(due time.Time) error {
	now := time.Now()
	c.due, c.late = due, now.Sub(due)
	if c.since.After(due) {
		c.late = now.Sub(c.since)
	}
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(c.request)
	if err != nil {
		c.hangUp()
	}
	return err
}

// end is what became of the call.
func (c *caller) end(status int) outcome {
	now := time.Now()
	o := outcome{status, now.Sub(c.due), c.late}
	c.due, c.since = time.Time{}, now
	c.load.idle = append(c.load.idle, c)
	return o
}

// read takes what has come. It returns the answer's status when that is whole.
func (c *caller) read() (status int, err error) {
	for status == 0 && err == nil {
		c.got = slices.Grow(c.got, 4096)
		var n int
		n, err = c.conn.Read(c.got[len(c.got):cap(c.got)])
		c.got = c.got[:len(c.got)+n]
		if err == nil {
			status, err = c.answer()
		}
	}
	if errors.Is(err, errNothing) {
		return 0, nil
	}
	if err != nil {
		c.hangUp()
	}
	return status, err
}

// answer is what HTTP/1.1 servers answer to a request with a body: a status, and
// as many bytes as they say. It is 0 until all of them are there.
func (c *caller) answer() (status int, err error) {
	head, body, whole := bytes.Cut(c.got, []byte("\r\n\r\n"))
	if !whole {
		return 0, nil
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("status line %q", line)
	}
	length, last := -1, false
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, errors.New("the answer does not say how long it is")
	}
	if len(body) < length {
		return 0, nil
	}
	c.got = c.got[:0]
	if last {
		c.hangUp() // as the server said
	}
	return status, nil
}

// socket is a connection without the runtime's poller, so that one thread waits for
// all of them, and for the next call, in one place. It waits itself until it is set
// not to, then Read returns errNothing when nothing has come.
type socket int

// errNothing is temporary to crypto/tls, which goes on after it where it was.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has come yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

func connect(to *net.TCPAddr) (socket, error) {
	conn, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close() // what is used is its duplicate, which the poller does not know
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var s socket
	failed := raw.Control(func(fd uintptr) {
		var fresh int
		fresh, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		s = socket(fresh)
	})
	if err := errors.Join(failed, err); err != nil {
		return 0, err
	}
	patience := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetNonblock(int(s), false),
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience))
	if err != nil {
		s.Close()
		return 0, err
	}
	return s, nil
}

func (s socket) Read(b []byte) (int, error) {
	n, err := unix.Read(int(s), b)
	for err == unix.EINTR {
		n, err = unix.Read(int(s), b)
	}
	switch {
	case err == unix.EAGAIN:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s socket) Write(b []byte) (sent int, err error) {
	for sent < len(b) {
		n, err := unix.Write(int(s), b[sent:])
		switch {
		case err == unix.EAGAIN:
			ready := []unix.PollFd{{Fd: int32(s), Events: unix.POLLOUT}}
			if n, err := unix.Poll(ready, int(patience.Milliseconds())); n == 0 && err == nil {
				return sent, errors.New("the server does not read")
			}
		case err != nil && err != unix.EINTR:
			return sent, err
		case err == nil:
			sent += n
		}
	}
	return sent, nil
}

func (s socket) Close() error                     { return unix.Close(int(s)) }
func (s socket) LocalAddr() net.Addr              { return nil }
func (s socket) RemoteAddr() net.Addr             { return nil }
func (s socket) SetDeadline(time.Time) error      { return nil }
func (s socket) SetReadDeadline(time.Time) error  { return nil }
func (s socket) SetWriteDeadline(time.Time) error { return nil }
