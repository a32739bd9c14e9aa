package gateway

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
)

func TestForwarded(t *testing.T) {
	t.Parallel()
	claims := http.Header{
		"X-Forwarded-For": {"203.0.113.9", "198.51.100.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"example.com"},
		"X-Forwarded-Prefix": {"/platform/"}, "X-Forwarded-Port": {"443"},
		"Forwarded": {"for=203.0.113.9"}, "X-Real-Ip": {"203.0.113.9"},
	}
	bad := claims.Clone()
	bad.Set("X-Forwarded-Proto", "gopher")
	bad.Set("X-Forwarded-Prefix", "/a/../b")
	behind := []string{"192.0.2.0/24", "2001:db8::1"}
	for _, c := range []struct {
		name   string
		server config.Server
		peer   string
		tls    bool
		header http.Header
		want   [4]string // For, Proto, Host, Prefix
	}{
		{"direct", config.Server{}, "192.0.2.1:1", false, nil, [4]string{"192.0.2.1", "http", "here", "/api/v1/blog"}},
		{"direct, TLS", config.Server{}, "192.0.2.1:1", true, nil, [4]string{"192.0.2.1", "https", "here", "/api/v1/blog"}},
		{"not trusted", config.Server{}, "192.0.2.1:1", false, claims, [4]string{"192.0.2.1", "http", "here", "/api/v1/blog"}},
		{"not the trusted one", config.Server{TrustedProxies: behind}, "203.0.113.9:1", false, claims,
			[4]string{"203.0.113.9", "http", "here", "/api/v1/blog"}},
		{"trusted", config.Server{TrustedProxies: behind}, "192.0.2.1:1", false, claims,
			[4]string{"203.0.113.9, 198.51.100.7, 192.0.2.1", "https", "example.com", "/platform/api/v1/blog"}},
		{"trusted, IPv6", config.Server{TrustedProxies: behind}, "[2001:db8::1]:1", false, claims,
			[4]string{"203.0.113.9, 198.51.100.7, 2001:db8::1", "https", "example.com", "/platform/api/v1/blog"}},
		{"trusted, IPv4 in IPv6", config.Server{TrustedProxies: behind}, "[::ffff:192.0.2.1]:1", false, nil,
			[4]string{"192.0.2.1", "http", "here", "/api/v1/blog"}},
		{"trusted, talks nonsense", config.Server{TrustedProxies: behind}, "192.0.2.1:1", false, bad,
			[4]string{"203.0.113.9, 198.51.100.7, 192.0.2.1", "http", "example.com", "/api/v1/blog"}},
		{"public URL", config.Server{TrustedProxies: behind, PublicURL: "https://p.example.com/x"}, "192.0.2.1:1", false, claims,
			[4]string{"203.0.113.9, 198.51.100.7, 192.0.2.1", "https", "p.example.com", "/x/api/v1/blog"}},
		{"no address", config.Server{TrustedProxies: behind}, "@", false, claims, [4]string{"unknown", "http", "here", "/api/v1/blog"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := newForwarding(c.server)
			require.NoError(t, err)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://here/", nil)
			r.RemoteAddr, r.Header = c.peer, http.Header{"X-Other": {"stays"}}
			for name, values := range c.header {
				r.Header[name] = values
			}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			f.apply(r, "/api/v1/blog")
			require.Equal(t, http.Header{
				"X-Other": {"stays"}, "X-Forwarded-For": {c.want[0]}, "X-Forwarded-Proto": {c.want[1]},
				"X-Forwarded-Host": {c.want[2]}, "X-Forwarded-Prefix": {c.want[3]},
			}, r.Header)
		})
	}
}

func TestForwardingRejectsNonsense(t *testing.T) {
	t.Parallel()
	for _, server := range []config.Server{
		{TrustedProxies: []string{"localhost"}}, {TrustedProxies: []string{"10.0.0.0/99"}}, {PublicURL: "://"}, {PublicURL: "/a"},
	} {
		_, err := newForwarding(server)
		require.ErrorContains(t, err, "fix:")
	}
}

// TestClient: the chain counts as far back as trusted proxies wrote it, before the gateway rewrites it and after.
func TestClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		peer    string
		trusted []string
		chain   []string
		want    string
	}{
		{"192.0.2.1:4711", nil, []string{"198.51.100.7"}, "192.0.2.1"},
		{"192.0.2.1:4711", []string{"10.0.0.0/8"}, []string{"198.51.100.7"}, "192.0.2.1"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, nil, "10.0.0.1"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{""}, "10.0.0.1"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"203.0.113.9", "198.51.100.7", "10.0.0.2,10.0.0.3"}, "198.51.100.7"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"203.0.113.9, evil, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"198.51.100.7:5000"}, "198.51.100.7"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"[2001:db8::1]:5000"}, "2001:db8::1"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:4711", []string{"10.0.0.0/8"}, []string{"unknown"}, "10.0.0.1"},
		{"[fe80::1%eth0]:4711", nil, nil, "fe80::1"},
		{"@", []string{"10.0.0.0/8"}, []string{"198.51.100.7"}, "unknown"},
	} {
		server := config.Default().Server
		server.TrustedProxies = c.trusted
		f, err := newForwarding(server)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.chain != nil {
			r.Header["X-Forwarded-For"] = c.chain
		}
		require.Equal(t, c.want, f.client(r), "%+v", c)
		f.apply(r, "")
		require.Equal(t, c.want, f.client(r), "%+v, applied", c)
	}
}
