package auth

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func benchService(b *testing.B) *Service {
	b.Helper()
	return onSQLite(b).replica(b)
}

func authenticating(b *testing.B, s *Service, token string) {
	b.Helper()
	_, err := s.Authenticate(b.Context(), token)
	require.NoError(b, err)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(ctx, token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateAPITokenCached(b *testing.B) {
	s := benchService(b)
	secret, _, err := s.Create(b.Context(), NewToken{TTL: day})
	require.NoError(b, err)
	authenticating(b, s, secret)
}

func BenchmarkAuthenticateSessionCached(b *testing.B) {
	s := benchService(b)
	authenticating(b, s, ada(b, s).AccessToken)
}

// The hash alone, to compare the line above with.
func BenchmarkHashOfAnAccessToken(b *testing.B) {
	token := ada(b, benchService(b)).AccessToken
	for b.Loop() {
		_ = sha256.Sum256([]byte(token))
	}
}

func BenchmarkAuthenticateSessionParallel(b *testing.B) {
	s := benchService(b)
	token := ada(b, s).AccessToken
	ctx := b.Context()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Authenticate(ctx, token); err != nil {
				b.Error(err)
			}
		}
	})
}

// What a cached check saves: the signature, and two lookups.
func BenchmarkAuthenticateSessionAnew(b *testing.B) {
	s := benchService(b)
	token := ada(b, s).AccessToken
	for b.Loop() {
		s.cache.forgetSession("")
		clear(s.cache.entries)
		if _, err := s.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	s, who := benchService(b), someone()
	b.ReportAllocs()
	for b.Loop() {
		mint(s, who, "blog", "018f3c2e-7a51-7c3e-9a51-0242ac120002")
	}
}

func BenchmarkReadTicket(b *testing.B) {
	s := benchService(b)
	ticket := mint(s, someone(), "blog", "018f3c2e-7a51-7c3e-9a51-0242ac120002")
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ReadTicket(ctx, ticket, "blog"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	s := benchService(b)
	tokens := ada(b, s)
	for b.Loop() {
		next, err := s.Refresh(b.Context(), tokens.RefreshToken, "")
		if err != nil {
			b.Fatal(err)
		}
		tokens = next
	}
}

func BenchmarkThrottle(b *testing.B) {
	th := newThrottle(time.Now)
	for b.Loop() {
		attempt(th, "ada", "192.0.2.1", succeeded)
	}
}
