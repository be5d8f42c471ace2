package serve

import (
	"fmt"

	"github.com/redoubt-ml/redoubt/serve/identity"
)

// identity is what the configuration says of it, its secrets among it.
func (c *Config) identity() (identity.Config, error) {
	out := c.identitySettings()
	key, err := c.sealingKey()
	if err != nil {
		return identity.Config{}, err
	}
	out.Key = key
	return out, c.openIdentity(&out)
}

// identitySettings is what stands in the configuration itself.
func (c *Config) identitySettings() identity.Config {
	out := identity.Config{Origin: c.Identity.Origin, Revoked: c.Identity.Revoked}
	for _, r := range c.Identity.Certificates {
		out.Certificates = append(out.Certificates, identity.CertificateRule{Match: r.Match, Roles: r.Roles, Groups: r.Groups})
	}
	for _, i := range c.Identity.Issuers {
		out.Issuers = append(out.Issuers, identity.Issuer{
			URL: i.URL, Name: i.Name, Algorithm: i.Algorithm, Audience: i.Audience, Types: i.Types,
			ClientID: i.ClientID, Scopes: i.Scopes,
			RolesClaim: i.RolesClaim, GroupsClaim: i.GroupsClaim, Roles: i.Roles, SecondFactor: i.SecondFactor, SecondFactorAlways: i.SecondFactorAlways, SignInEvery: i.SignInEvery, KeysURL: i.KeysURL,
		})
	}
	return out
}

// openIdentity adds what settings name: secrets, and files of authorities and of
// revocation lists.
func (c *Config) openIdentity(out *identity.Config) error {
	jwt, err := c.secret("identity.jwt_key", c.Identity.JWTKey)
	if err != nil {
		return err
	}
	out.JWTKey = []byte(jwt)
	for _, f := range c.Identity.CRLs {
		out.CRLs = append(out.CRLs, c.path(f))
	}
	for n, i := range c.Identity.Issuers {
		if out.Issuers[n].ClientSecret, err = c.secret("client_secret", i.ClientSecret); err == nil && i.CA != "" {
			out.Issuers[n].TLS, err = c.clientTLS(i.CA, "", "")
		}
		if err != nil {
			return fmt.Errorf("identity: issuer %s: %w", i.URL, err)
		}
	}
	return nil
}

// checkIdentity reports what cannot be meant of accounts and of who is trusted,
// before any file is opened.
func (c *Config) checkIdentity() error {
	settings := c.identitySettings()
	if err := settings.Check(); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	roles := c.policy()
	if err := roles.Check(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	// A principal with a role that nobody knows is refused everything.
	for _, i := range settings.Issuers {
		for word, gives := range i.Roles {
			for _, role := range gives {
				if err := roles.Known(role); err != nil {
					return fmt.Errorf("identity: issuer %s: roles: %s: %w", i.URL, word, err)
				}
			}
		}
	}
	for _, r := range settings.Certificates {
		for _, role := range r.Roles {
			if err := roles.Known(role); err != nil {
				return fmt.Errorf("identity: certificates: %s: %w", r.Match, err)
			}
		}
	}
	return nil
}
