package sign

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// iterations of PBKDF2: what OWASP's password storage cheat sheet asks of
// HMAC-SHA-256 in 2023. A file may ask for more, but not for hours of work.
const (
	iterations    = 600_000
	maxIterations = 20_000_000
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMAC   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9} // hmacWithSHA256
	oidAES    = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// The structures of RFC 5958 (section 3) and RFC 8018 (appendix A).
type encryptedKey struct {
	Algorithm struct {
		ID     asn1.ObjectIdentifier
		Params pbes2
	}
	Data []byte
}

type pbes2 struct {
	KDF struct {
		ID     asn1.ObjectIdentifier
		Params kdfParams
	}
	Cipher struct {
		ID asn1.ObjectIdentifier
		IV []byte
	}
}

type kdfParams struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

func encryptPKCS8(der []byte, passphrase string) ([]byte, error) {
	var e encryptedKey
	e.Algorithm.ID = oidPBES2
	p := &e.Algorithm.Params
	p.KDF.ID, p.Cipher.ID = oidPBKDF2, oidAES
	p.KDF.Params = kdfParams{Salt: make([]byte, 16), Iterations: iterations, PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMAC, Parameters: asn1.NullRawValue}}
	p.Cipher.IV = make([]byte, aes.BlockSize)
	rand.Read(p.KDF.Params.Salt) // it never fails
	rand.Read(p.Cipher.IV)
	block, err := p.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize
	e.Data = append(bytes.Clone(der), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, p.Cipher.IV).CryptBlocks(e.Data, e.Data)
	return asn1.Marshal(e)
}

func decryptPKCS8(der []byte, passphrase string) ([]byte, error) {
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 || !e.Algorithm.ID.Equal(oidPBES2) {
		return nil, errors.New("want encryption by PBES2 with PBKDF2 and AES-256-CBC: openssl pkcs8 -topk8 -v2 aes-256-cbc makes it")
	}
	p := e.Algorithm.Params
	if len(e.Data) == 0 || len(e.Data)%aes.BlockSize != 0 || len(p.Cipher.IV) != aes.BlockSize {
		return nil, errors.New("the encrypted key is damaged")
	}
	block, err := p.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(e.Data))
	cipher.NewCBCDecrypter(block, p.Cipher.IV).CryptBlocks(out, e.Data)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(out[len(out)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("the passphrase is wrong")
	}
	return out[:len(out)-pad], nil
}

func (p *pbes2) cipher(passphrase string) (cipher.Block, error) {
	k := p.KDF.Params
	if !p.KDF.ID.Equal(oidPBKDF2) || !k.PRF.Algorithm.Equal(oidHMAC) || !p.Cipher.ID.Equal(oidAES) {
		return nil, errors.New("want PBKDF2 with HMAC-SHA-256, and AES-256-CBC: openssl pkcs8 -topk8 -v2 aes-256-cbc makes it")
	}
	if k.Iterations < 1 || k.Iterations > maxIterations || k.KeyLength != 0 && k.KeyLength != 32 {
		return nil, errors.New("the parameters of PBKDF2 are out of range")
	}
	key, err := pbkdf2.Key(sha256.New, passphrase, k.Salt, k.Iterations, 32)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}
