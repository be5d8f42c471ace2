//go:build !unix

package engine

import "net"

// quiet cannot tell here what the server has done to a connection: each is used once.
func quiet(net.Conn) bool { return false }
