package plugintest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// callers are those who hold a token. It is safe for concurrent use.
type callers struct {
	manifest *manifest.Manifest

	mu      sync.Mutex // guards byToken
	byToken map[string]caller
}

type caller struct {
	principal   pluginapi.Principal
	permissions []string
	ticket      string
}

// admit gives principal a token. A permission that matches none of the manifest's is an error: the test would not test what
// it says.
func (c *callers) admit(principal pluginapi.Principal, permissions []string) (token string, err error) {
	for _, pattern := range permissions {
		known := func(p manifest.Permission) bool { return matches(pattern, p.Name) }
		if !slices.ContainsFunc(c.manifest.Permissions, known) {
			return "", fmt.Errorf("module.yaml declares no permission that %q matches", pattern)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	token = fmt.Sprintf("test-token-%d", len(c.byToken)+1)
	c.byToken[token] = caller{principal: principal, permissions: slices.Clone(permissions), ticket: ticketPrefix + token}
	return token, nil
}

// ticketPrefix tells a caller's ticket from the token.
const ticketPrefix = "ticket-of-"

func (c *callers) find(token string) (caller, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.byToken[token]
	return found, ok
}

func (c *callers) byTicket(ticket string) (caller, bool) {
	token, ok := strings.CutPrefix(ticket, ticketPrefix)
	if !ok {
		return caller{}, false
	}
	return c.find(token)
}

// user returns who has the id among those who hold a token.
func (c *callers) user(id string) (caller, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.byToken {
		if one.principal.ID == id {
			return one, true
		}
	}
	return caller{}, false
}

func holds(patterns []string, permission string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, permission) })
}

// matches knows "*", "blog.*", "blog.post.*" and exact names.
func matches(pattern, permission string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return pattern == permission
	}
	return prefix == "" || strings.HasSuffix(prefix, ".") && strings.HasPrefix(permission, prefix)
}
