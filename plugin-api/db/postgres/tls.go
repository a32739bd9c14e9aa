package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// withoutCertificateFile drops sslrootcert, which names a file that this process may not be able to read, where the
// certificates are given. pgx would read the file.
func withoutCertificateFile(source string, certificates []byte) (string, error) {
	if len(certificates) == 0 {
		return source, nil
	}
	u, err := url.Parse(source)
	if err != nil {
		return "", errors.New("the database's URL cannot be read (fix: write postgres://USER:PASSWORD@HOST:PORT/DATABASE)")
	}
	query := u.Query()
	query.Del("sslrootcert")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// trust makes every attempt to connect verify the server against the certificates. With sslmode=require and no root certificate
// pgx verifies nothing; given one, it checks the chain (libpq, "SSL Support"), and so do we.
func trust(config *pgx.ConnConfig, certificates []byte) error {
	if len(certificates) == 0 {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificates) {
		return errors.New("the database's root certificates are not PEM (fix: name a PEM file as sslrootcert)")
	}
	settings := []*tls.Config{config.TLSConfig}
	for _, fallback := range config.Fallbacks {
		settings = append(settings, fallback.TLSConfig)
	}
	for _, setting := range settings {
		if setting == nil { // sslmode=disable, or the plain try of prefer
			continue
		}
		setting.RootCAs = roots
		if setting.InsecureSkipVerify {
			setting.VerifyConnection = verifyChain(roots)
		}
	}
	return nil
}

// verifyChain checks who signed the server's certificate, not whom it names: that is verify-ca.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the database server has no certificate")
		}
		between := x509.NewCertPool()
		for _, certificate := range state.PeerCertificates[1:] {
			between.AddCert(certificate)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if err != nil {
			return fmt.Errorf("the database server's certificate: %w", err)
		}
		return nil
	}
}
