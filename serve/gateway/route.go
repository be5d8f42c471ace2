package gateway

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/redoubt-ml/redoubt/serve/policy"
)

// route finds the version that answers a call: the one that it names, or the
// default, or for those that are among its share the canary. A canary that may not
// be routed to has no share.
func (o *Offer) route(c *Call) *Served {
	s := o.find(c.Model, c.Version)
	if s == nil || c.Version != "" || c.asks || c.Action != policy.Invoke {
		return s
	}
	canary := o.find(c.Model, s.Model.Canary.Version)
	if s.Model.Canary.Version == "" || canary == nil || canary.refusal() != "" || c.lot(canary) >= s.Model.Canary.Share {
		return s
	}
	c.Note("canary", canary.Version)
	return canary
}

// lot is a number from 0 to 1 that the caller has for a version, always the same.
// Nobody is told from others by the address.
func (c *Call) lot(s *Served) float64 {
	who := c.Principal.ID
	if who == "" {
		who = networkOf(c.From).String()
	}
	sum := sha256.Sum256([]byte(c.Model + "\x00" + s.Version + "\x00" + who))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
