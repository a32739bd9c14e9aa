package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// signer is somebody who signs certificates.
type signer struct {
	chain [][]byte // its own certificate, and those up to the root
	leaf  *x509.Certificate
	key   *ecdsa.PrivateKey
}

// sign makes a certificate; without a parent it signs itself. A name makes it one of a server.
func sign(t *testing.T, parent *signer, name string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test " + serial.String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: name == "",
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else if name != "" {
		template.DNSNames = []string{name}
	}
	by := &signer{leaf: template, key: key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.leaf, key.Public(), by.key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &signer{chain: append([][]byte{der}, by.chain...), leaf: leaf, key: key}
}

func (s *signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.leaf.Raw})
}

// secured is a server that speaks TLS alone, in front of the real one.
func secured(t *testing.T, source string, identity *signer) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: identity.chain, PrivateKey: identity.key}}}
	return serve(t, func(conn net.Conn) {
		request := make([]byte, 8) // SSLRequest
		if _, err := io.ReadFull(conn, request); err != nil || request[4] != 4 || request[5] != 210 {
			_ = conn.Close() // it begins without TLS
			return
		}
		if _, err := conn.Write([]byte("S")); err != nil {
			return
		}
		pass(tls.Server(conn, config), addressOf(t, source))
	}).through(t, source)
}

func TestTheServerIsWhoItSays(t *testing.T) {
	t.Parallel()
	source := dbtest.Server(t)
	root, stranger := sign(t, nil, ""), sign(t, nil, "")
	between := sign(t, root, "")
	right, elsewhere := sign(t, root, "127.0.0.1"), sign(t, root, "db.example.org")
	chained, foreign := sign(t, between, "127.0.0.1"), sign(t, stranger, "127.0.0.1")
	forbidden := filepath.Join(t.TempDir(), "root.crt") // a module could not read it; here it is not even there
	for name, test := range map[string]struct {
		identity *signer
		roots    []byte
		mode     string // and the file that the URL names, if any
		says     string // "": it is trusted
	}{
		"full":                          {right, root.pem(), "verify-full", ""},
		"full, with one between":        {chained, root.pem(), "verify-full", ""},
		"full, one of several roots":    {right, append(stranger.pem(), root.pem()...), "verify-full", ""},
		"full, another name":            {elsewhere, root.pem(), "verify-full", "127.0.0.1"},
		"full, a stranger":              {foreign, root.pem(), "verify-full", "unknown authority"},
		"ca":                            {right, root.pem(), "verify-ca", ""},
		"ca, with one between":          {chained, root.pem(), "verify-ca", ""},
		"ca, another name":              {elsewhere, root.pem(), "verify-ca", ""},
		"ca, a stranger":                {foreign, root.pem(), "verify-ca", "unknown authority"},
		"required":                      {right, root.pem(), "require", ""},
		"required, with one between":    {chained, root.pem(), "require", ""},
		"required, another name":        {elsewhere, root.pem(), "require", ""},
		"required, a stranger":          {foreign, root.pem(), "require", "unknown authority"},
		"required, no root to ask":      {foreign, nil, "require", ""},
		"preferred, a stranger":         {foreign, root.pem(), "prefer", "unknown authority"},
		"the file is not read":          {right, root.pem(), "verify-full " + forbidden, ""},
		"nor by require":                {foreign, root.pem(), "require " + forbidden, "unknown authority"},
		"the file is all there is":      {right, nil, "verify-full " + forbidden, "unable to read CA file"},
		"roots that are no such thing":  {right, []byte("-----BEGIN"), "verify-full", "not PEM (fix: "},
		"no TLS where there is nothing": {right, root.pem(), "disable", "fix: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoFileExists(t, forbidden)
			server := with(t, secured(t, source, test.identity), func(_ *url.URL, query url.Values) {
				mode, file, _ := strings.Cut(test.mode, " ")
				query.Set("sslmode", mode)
				query.Set("sslrootcert", file)
			})
			db, err := postgres.Open(t.Context(), server, postgres.Options{RootCertificates: test.roots})
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			require.NoError(t, postgres.Close(db))
		})
	}
}

// The plain way stays open to those who ask for it: a server on this machine needs no TLS.
func TestRootCertificatesDoNotForceTLS(t *testing.T) {
	t.Parallel()
	source := with(t, dbtest.Server(t), func(_ *url.URL, query url.Values) { query.Set("sslmode", "disable") })
	open(t, source, postgres.Options{RootCertificates: sign(t, nil, "").pem()})
}

func TestTheCertificateFileIsReadWhereNoneAreGiven(t *testing.T) {
	t.Parallel()
	root := sign(t, nil, "")
	file := filepath.Join(t.TempDir(), "root.crt")
	require.NoError(t, os.WriteFile(file, root.pem(), 0o600))
	source := secured(t, dbtest.Server(t), sign(t, root, "127.0.0.1"))
	open(t, with(t, source, func(_ *url.URL, query url.Values) {
		query.Set("sslmode", "verify-full")
		query.Set("sslrootcert", file)
	}), postgres.Options{})
}
