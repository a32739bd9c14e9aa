package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/core/internal/config"
)

// forwarding tells modules where a request came from, and under which URL.
type forwarding struct {
	trusted []netip.Prefix
	public  *url.URL // nil: as the client addressed us
}

func newForwarding(server config.Server) (f forwarding, err error) {
	for _, proxy := range server.TrustedProxies {
		prefix, err := parseProxy(proxy)
		if err != nil {
			return f, fmt.Errorf("server.trustedProxies: %w (fix: write an IP address, or a range such as 10.0.0.0/8)", err)
		}
		f.trusted = append(f.trusted, prefix)
	}
	if server.PublicURL == "" {
		return f, nil
	}
	if f.public, err = url.Parse(server.PublicURL); err != nil || f.public.Host == "" {
		return f, fmt.Errorf("server.publicURL %q is no URL (fix: write for example https://example.com)", server.PublicURL)
	}
	return f, nil
}

func parseProxy(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// unknownClient stands for the address of who has none, as on a unix socket (RFC 7239, section 6.2).
const unknownClient = "unknown"

// origin is what the forwarding headers say.
type origin struct{ chain, proto, host, prefix string }

// apply replaces every header about a request's origin with what the gateway knows, below the given prefix. What a
// client says counts only if it is a trusted proxy.
func (f *forwarding) apply(r *http.Request, prefix string) {
	peer := peerOf(r)
	o := origin{chain: unknownClient, proto: "http", host: r.Host}
	if peer.IsValid() {
		o.chain = peer.String()
	}
	if r.TLS != nil {
		o.proto = "https"
	}
	if f.trusts(peer) {
		o.believe(r.Header)
	}
	if f.public != nil {
		o.proto, o.host, o.prefix = f.public.Scheme, f.public.Host, strings.TrimSuffix(f.public.EscapedPath(), "/")
	}
	for name := range r.Header {
		if tellsOrigin(name) {
			delete(r.Header, name)
		}
	}
	// One backing array instead of four: this is done for every request.
	values := [...]string{o.chain, o.proto, o.host, o.prefix + prefix}
	for i, name := range [...]string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix"} {
		r.Header[name] = values[i : i+1 : i+1]
	}
}

func (f *forwarding) trusts(peer netip.Addr) bool {
	for _, prefix := range f.trusted {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// client is the address of who asked: the last one in the chain that is not a trusted proxy's, since only from there on is the
// chain written by somebody we trust. It is the same before apply and after.
func (f *forwarding) client(r *http.Request) string {
	client := peerOf(r)
	if !client.IsValid() {
		return unknownClient
	}
	if !f.trusts(client) {
		return client.String()
	}
	chain := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, link := range slices.Backward(chain) {
		addr := parseClient(strings.TrimSpace(link))
		if !addr.IsValid() {
			break
		}
		if client = addr; !f.trusts(client) {
			break
		}
	}
	return client.String()
}

// parseClient returns the zero value for what is no address, or none that tells anything. Some proxies add the port.
func parseClient(text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		withPort, _ := netip.ParseAddrPort(text) // else the zero value
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}

// believe takes over what a trusted proxy says. It adds its own client's address to the chain, so we add the proxy's.
func (o *origin) believe(header http.Header) {
	if earlier := strings.Join(header["X-Forwarded-For"], ", "); earlier != "" {
		o.chain = earlier + ", " + o.chain
	}
	if proto := header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
		o.proto = proto
	}
	if host := header.Get("X-Forwarded-Host"); host != "" {
		o.host = host
	}
	if prefix := header.Get("X-Forwarded-Prefix"); canonical.Check(prefix) == nil {
		o.prefix = strings.TrimSuffix(prefix, "/")
	}
}

func peerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(host) // the zero value is trusted by nobody
	return addr.Unmap().WithZone("")
}

// tellsOrigin tells whether a header's name is one of those by which proxies say where a request came from, or one that the
// gateway sets. CGI and its heirs read "_" as "-", so a module might take the one for the other.
func tellsOrigin(name string) bool {
	switch name[0] | 0x20 {
	case 'f':
		return strings.EqualFold(name, "Forwarded")
	case 'x':
		name = strings.ReplaceAll(name, "_", "-")
		return len(name) >= len("X-Forwarded-") && strings.EqualFold(name[:len("X-Forwarded-")], "X-Forwarded-") ||
			strings.EqualFold(name, "X-Real-Ip") || strings.EqualFold(name, "X-Request-Id") && name != headerRequestID
	}
	return false
}
