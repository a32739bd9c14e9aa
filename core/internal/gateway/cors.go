package gateway

import (
	"net/http"
	"time"

	"github.com/rs/cors"
)

// preflightAge is how long a browser may remember what it was told.
const preflightAge = 10 * time.Minute

// withCORS lets pages of the given origins call next from a browser, and answers their preflights, which carry no token.
// Tokens travel in a header, never in a cookie, so credentials are not allowed.
func withCORS(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodOptions},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{headerRequestID, "Retry-After", "WWW-Authenticate", "Allow", "Location", "Link", "ETag"},
		MaxAge:         int(preflightAge / time.Second),
	}).Handler(next)
}
