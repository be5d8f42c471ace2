package serve

import (
	"fmt"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// identity is what the configuration says of it.
func (c *Config) identity() (identity.Config, error) {
	key, err := c.sealingKey()
	if err != nil {
		return identity.Config{}, err
	}
	jwt, err := c.secret("identity.jwt_key", c.Identity.JWTKey)
	if err != nil {
		return identity.Config{}, err
	}
	out := identity.Config{
		Key: key, Origin: c.Identity.Origin, JWTKey: []byte(jwt), Revoked: c.Identity.Revoked,
	}
	for _, f := range c.Identity.CRLs {
		out.CRLs = append(out.CRLs, c.path(f))
	}
	for _, r := range c.Identity.Certificates {
		out.Certificates = append(out.Certificates, identity.CertificateRule{Match: r.Match, Roles: r.Roles, Groups: r.Groups})
	}
	for _, i := range c.Identity.Issuers {
		issuer, err := c.issuer(i)
		if err != nil {
			return identity.Config{}, fmt.Errorf("identity: issuer %s: %w", i.URL, err)
		}
		out.Issuers = append(out.Issuers, issuer)
	}
	return out, nil
}

func (c *Config) issuer(i Issuer) (identity.Issuer, error) {
	secret, err := c.secret("client_secret", i.ClientSecret)
	if err != nil {
		return identity.Issuer{}, err
	}
	out := identity.Issuer{
		URL: i.URL, Name: i.Name, Algorithm: i.Algorithm, Audience: i.Audience, Types: i.Types,
		ClientID: i.ClientID, ClientSecret: secret, Scopes: i.Scopes,
		RolesClaim: i.RolesClaim, GroupsClaim: i.GroupsClaim, Roles: i.Roles, SecondFactor: i.SecondFactor, SignInEvery: i.SignInEvery, KeysURL: i.KeysURL,
	}
	if i.CA != "" {
		out.TLS, err = c.clientTLS(i.CA, "", "")
	}
	return out, err
}
