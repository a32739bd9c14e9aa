package gateway

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/config"
)

// certificates serves the certificate of two files, and follows them when they change.
type certificates struct {
	files config.TLS
	log   hclog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]fs.FileInfo // the files when they were read last; nil if they were not there
}

func newCertificates(files config.TLS, log hclog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	c.seen = c.look()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("server.tls: %w (fix: cert and key must be PEM files that belong together)", err)
	}
	c.current = &pair
	return c, nil
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
}

// get returns the certificate as the files have it. While they do not make a pair, the one before stays.
func (c *certificates) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.look()
	if same(now[0], c.seen[0]) && same(now[1], c.seen[1]) {
		return c.current
	}
	c.seen = now // looked at before reading: what changes in between is seen next time
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		c.log.Error("the TLS certificate has changed, but cannot be used; the one before stays in use",
			"cert", c.files.Cert, "key", c.files.Key, "error", err)
		return c.current
	}
	c.log.Info("the TLS certificate has been reloaded", "cert", c.files.Cert)
	c.current = &pair
	return c.current
}

func (c *certificates) look() (infos [2]fs.FileInfo) {
	for i, path := range []string{c.files.Cert, c.files.Key} {
		if info, err := os.Stat(path); err == nil {
			infos[i] = info
		}
	}
	return infos
}

// same tells whether a file has neither been written to nor replaced.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
