package auth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// issuerKeysPause is the least time between two requests for a provider's keys, however many tokens come with a key that is not
// known, or a signature that is wrong.
const issuerKeysPause = 10 * time.Second

// unjudgedKey is where the context of a verification keeps a *error: the library's own errors do not tell a bad token from a
// provider that cannot be asked.
type unjudgedKey struct{}

// errKeysRead means that the keys have been read a moment ago: what they do not verify is refused.
var errKeysRead = errors.New("the provider's keys were read a moment ago (fix: try again in ten seconds)")

// keySetOf is a provider's public keys. It is an oidc.KeySet around the library's, which reads the keys anew, in place of all
// that it had, whenever a token has a key that is not known or a signature that is wrong; that is how it learns of rotations.
// It is safe for concurrent use.
type keySetOf struct {
	remote *oidc.RemoteKeySet
	mu     sync.Mutex
	failed error // what came of the last reading
}

// newKeySetOf takes what the library wants to find in ctx; the end of ctx means nothing to it.
func newKeySetOf(ctx context.Context, i *issuer, address string) *keySetOf {
	client := *i.client
	client.Transport = &paced{base: i.client.Transport, now: i.now}
	return &keySetOf{remote: oidc.NewRemoteKeySet(oidc.ClientContext(ctx, &client), address)}
}

// VerifySignature implements oidc.KeySet.
func (k *keySetOf) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := k.remote.VerifySignature(ctx, token)
	if err == nil {
		return payload, nil
	}
	if unjudged, ok := ctx.Value(unjudgedKey{}).(*error); ok {
		*unjudged = k.unjudged(ctx, err)
	}
	return nil, err
}

// unjudged returns why the token could not be judged, if that is so. The library wraps an error exactly if it could not read the
// keys.
func (k *keySetOf) unjudged(ctx context.Context, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case errors.Unwrap(err) == nil:
		k.failed = nil
	case errors.Is(err, errKeysRead): // what came of it is still true
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		k.failed = err
	}
	return k.failed
}

// paced lets one request pass per issuerKeysPause.
type paced struct {
	base http.RoundTripper
	now  func() time.Time
	mu   sync.Mutex
	last time.Time
}

// RoundTrip implements http.RoundTripper.
func (p *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if !p.may() {
		return nil, errKeysRead
	}
	return p.base.RoundTrip(r)
}

func (p *paced) may() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if age := now.Sub(p.last); age >= 0 && age < issuerKeysPause {
		return false
	}
	p.last = now
	return true
}

// bounded cuts answers that are too long.
type bounded struct{ base http.RoundTripper }

// newBounded keeps no connections: sign-ins are rare.
func newBounded() bounded {
	return bounded{&http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}}
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	return answer, nil
}

// algorithms are those of the provider that the library knows; none, or one with a shared key, is never among them.
func (p *provider) algorithms() []string {
	known := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
	}
	var offered struct {
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := p.discovery.Claims(&offered); err != nil {
		return []string{oidc.RS256} // what every provider must offer
	}
	return intersection(known, offered.Algorithms)
}
