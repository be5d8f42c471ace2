package identity

import (
	"fmt"
	"os"

	"github.com/redoubt-ml/redoubt"
)

// local is who came through the server's own socket: the user who runs the
// server, or root. They could open the database, and may administer.
func local(uid uint32) (redoubt.Principal, error) {
	if uid != uint32(os.Geteuid()) && uid != 0 {
		return redoubt.Principal{}, refuse(Invalid, "user %d at the socket of user %d", uid, os.Geteuid())
	}
	id := fmt.Sprintf("%s%d", localPrefix, uid)
	return redoubt.Principal{ID: id, Name: id, Roles: []string{"model_admin", "security_admin"}, Method: "socket"}, nil
}
