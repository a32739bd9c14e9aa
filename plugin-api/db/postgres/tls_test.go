package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// issuer is one who signs certificates.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes a certificate for a server at 127.0.0.1 or elsewhere, signed by i, or by itself if i is nil.
func (i *issuer) issue(t *testing.T, authority bool, address string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test " + serial.String()}, IsCA: authority, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if !authority {
		template.IPAddresses = []net.IP{net.ParseIP(address)}
	}
	signer := i
	if signer == nil {
		signer = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, &key.PublicKey, signer.key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &issuer{certificate, key}
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw})
}

// behind is the URL of an empty database whose server shows the certificate, and those between it and its root.
func behind(t *testing.T, server *issuer, between ...*issuer) string {
	t.Helper()
	shown := tls.Certificate{Certificate: [][]byte{server.certificate.Raw}, PrivateKey: server.key}
	for _, i := range between {
		shown.Certificate = append(shown.Certificate, i.certificate.Raw)
	}
	return listen(t, dbtest.Empty(t), &tls.Config{Certificates: []tls.Certificate{shown}}).source
}

func TestWhoseCertificateIsTrusted(t *testing.T) {
	t.Parallel()
	var none *issuer
	root, other := none.issue(t, true, ""), none.issue(t, true, "")
	middle := root.issue(t, true, "")
	here := behind(t, middle.issue(t, false, "127.0.0.1"), middle)
	elsewhere := behind(t, middle.issue(t, false, "192.0.2.1"), middle)
	for name, test := range map[string]struct {
		source, mode string
		trusted      []byte
		refused      string
	}{
		"full":                     {here, "verify-full", root.pem(), ""},
		"full, the system's":       {here, "verify-full", nil, "certificate"},
		"full, another's":          {here, "verify-full", other.pem(), "certificate"},
		"full, elsewhere":          {elsewhere, "verify-full", root.pem(), "192.0.2.1"},
		"issuer":                   {here, "verify-ca", root.pem(), ""},
		"issuer, elsewhere":        {elsewhere, "verify-ca", root.pem(), ""},
		"issuer, another's":        {here, "verify-ca", other.pem(), "certificate"},
		"required":                 {here, "require", nil, ""},
		"required, with a root":    {elsewhere, "require", root.pem(), ""},
		"required, with another's": {here, "require", other.pem(), "certificate"},
		"none, where there is one": {here, "disable", nil, ""},
		"not PEM":                  {here, "verify-full", []byte("x"), "are not PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := with(t, with(t, test.source, "sslmode", test.mode), "sslrootcert", "/nowhere.pem")
			if test.trusted == nil {
				source = with(t, test.source, "sslmode", test.mode)
			}
			db, err := postgres.Open(t.Context(), source, postgres.Options{RootCertificates: test.trusted})
			if test.mode == "disable" {
				require.ErrorIs(t, err, postgres.ErrUnavailable)
				return
			}
			if test.refused != "" {
				require.ErrorContains(t, err, test.refused)
				require.ErrorContains(t, err, "fix: ")
				return
			}
			require.NoError(t, err)
			require.NoError(t, db.Exec("SELECT 1").Error)
			require.NoError(t, postgres.Close(db))
		})
	}
}
