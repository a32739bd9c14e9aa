package gateway

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
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
)

// pair is a certificate in files.
type pair struct {
	t     *testing.T
	files config.TLS
}

func newPair(t *testing.T, name string) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{t, config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}}
	cert, key := makeCertificate(t, name)
	p.replace(p.files.Cert, cert)
	p.replace(p.files.Key, key)
	return p
}

// replace does as a careful program does: write aside, rename.
func (p pair) replace(path string, content []byte) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(p.t, os.Rename(path+".new", path))
}

func makeCertificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// served returns whose certificate a new connection sees.
func (f *fixture) served() string {
	f.t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(f.t.Context(), "tcp", f.addr)
	require.NoError(f.t, err)
	defer conn.Close()
	encrypted, ok := conn.(*tls.Conn)
	require.True(f.t, ok)
	return encrypted.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	p := newPair(t, "one")
	f := start(t, func(d *Deps) { d.Server.TLS = p.files })
	require.Equal(t, "one", f.served())

	cert, key := makeCertificate(t, "two")
	p.replace(p.files.Cert, cert) // its key is still the old one
	require.Equal(t, "one", f.served())
	require.Equal(t, "one", f.served())
	require.Contains(t, f.log.String(), "cannot be used")
	p.replace(p.files.Key, key)
	require.Equal(t, "two", f.served())

	require.NoError(t, os.WriteFile(p.files.Cert, []byte("garbage"), 0o600)) // in place
	require.Equal(t, "two", f.served())
	require.NoError(t, os.Remove(p.files.Cert))
	require.Equal(t, "two", f.served())
	cert, key = makeCertificate(t, "three")
	p.replace(p.files.Key, key)
	p.replace(p.files.Cert, cert)
	require.Equal(t, "three", f.served())
}

func TestTLS(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.TLS = newPair(t, "one").files })
	got := f.see("/api/v1/echo/public/x")
	require.Equal(t, "https", got.Header.Get("X-Forwarded-Proto"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+f.addr+"/livez", nil)
	require.NoError(t, err)
	response, err := f.client.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 2, response.ProtoMajor)

	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", f.addr)
	require.NoError(t, err)
	defer conn.Close()
	old := f.rawOn(conn, "GET /api/v1/echo/public/x HTTP/1.1\r\nHost: x\r\n\r\n").seen(t)
	require.Equal(t, "https", old.Header.Get("X-Forwarded-Proto"))
}

// TestSilentHandshakesDelayNobody: a client that says nothing keeps no other one from being served.
func TestSilentHandshakesDelayNobody(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Server.TLS = newPair(t, "one").files })
	for range 20 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.addr)
		require.NoError(t, err)
		defer conn.Close()
	}
	require.Equal(t, http.StatusOK, f.get("/livez").status)
}

func TestBadCertificateIsNamedAtTheStart(t *testing.T) {
	t.Parallel()
	p := newPair(t, "one")
	_, err := newCertificates(config.TLS{Cert: p.files.Key, Key: p.files.Cert}, hclog.NewNullLogger())
	require.ErrorContains(t, err, "server.tls")
	require.ErrorContains(t, err, "fix:")
}
