package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// OIDC is one entry of auth.oidc: a provider (OpenID Connect) that people may sign in with.
type OIDC struct {
	// Name is in URLs of platformd, so it should never change. No two providers have the same.
	Name string `json:"name" validate:"provider"`
	// URL is the issuer, as its discovery document spells it: a slash at the end counts.
	URL          string `json:"url" validate:"issuer_url"`
	ClientID     string `json:"clientID" validate:"client_id"`
	ClientSecret Secret `json:"clientSecret,omitempty"` // "" = a public client
	Audience     string `json:"audience,omitempty"`     // whom the ID tokens of machines are for; "" = ClientID
	// Scopes are asked for beside openid; empty = profile and email.
	Scopes []string `json:"scopes,omitempty" validate:"dive,scope"`
	// RoleClaim names the claim with a user's groups or the like, the names of nested ones joined by dots; "" = none. Roles says
	// which roles each of its values is worth; it is empty where RoleClaim is.
	RoleClaim   string              `json:"roleClaim,omitempty"`
	Roles       map[string][]string `json:"roles,omitempty" validate:"dive,keys,claim_value,endkeys,dive,role"`
	AllowSignUp bool                `json:"allowSignUp,omitempty"` // whom the provider knows, and nobody here, gets an account
}

var (
	providerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	roleName     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	scopeToken   = regexp.MustCompile(`^[!#-\[\]-~]+$`) // RFC 6749, 3.3
)

// checkProviders checks what no rule of a single key can.
func checkProviders(all []OIDC, from origins) Errors {
	var errs Errors
	fail := func(path string, bad *fault) { errs = append(errs, bad.at(from.find(path), path)) }
	first := map[string]int{}
	for i := range all {
		path := fmt.Sprintf("auth.oidc[%d]", i)
		same, found := first[all[i].Name]
		if found && all[i].Name != "" {
			fail(path+".name", &fault{fmt.Sprintf(": %s is already the name of auth.oidc[%d]", display(all[i].Name), same),
				"give one of them another name", "conflict"})
		}
		if !found {
			first[all[i].Name] = i
		}
		if len(all[i].Roles) > 0 && all[i].RoleClaim == "" {
			fail(path+".roles", &fault{" has no effect without roleClaim",
				"set roleClaim to the claim that holds these values, for example groups, or remove the roles", "conflict"})
		}
	}
	return errs
}

func checkProvider(name string) *fault {
	if providerName.MatchString(name) {
		return nil
	}
	return &fault{": " + display(name) + " is not a name that a provider may have",
		"use 1 to 32 of a-z, 0-9, _ and -, and begin with a letter", "bad_value"}
}

// checkIssuerURL repeats a URL only when nothing in it can be secret.
func checkIssuerURL(text string) *fault {
	const example = "write the issuer of the provider, for example https://accounts.example.com"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" && u.User == nil:
		return &fault{" is not an absolute URL", example, "bad_url"}
	case u.User != nil || strings.ContainsAny(text, "?#"):
		return &fault{" must have no user, query or fragment", example, "bad_url"}
	case u.Scheme != "https" && u.Scheme != "http":
		return &fault{": " + display(text) + " is not an https URL", example, "bad_url"}
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return &fault{": " + display(text) + " must be https", "use https: whoever is on the way could sign in as anybody", "bad_url"}
	case u.Port() != "":
		return checkPort(u.Port())
	}
	return nil
}

// isLoopback reports whether nobody can be on the way to host.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func checkClientID(id string) *fault {
	if id != "" && strings.TrimSpace(id) == id {
		return nil
	}
	return &fault{" is empty, or has spaces around it",
		"register platformd with the provider, and write the id that it gives", "bad_value"}
}

func checkScope(scope string) *fault {
	if scopeToken.MatchString(scope) {
		return nil
	}
	return &fault{": " + display(scope) + " is not a scope",
		"write each scope on its own, for example [profile, email, groups]", "bad_value"}
}

func checkClaimValue(value string) *fault {
	if value != "" && strings.TrimSpace(value) == value {
		return nil
	}
	return &fault{": a value of the claim is empty, or has spaces around it", "write it as the provider sends it", "bad_value"}
}

func checkRole(name string) *fault {
	if roleName.MatchString(name) {
		return nil
	}
	return &fault{": " + display(name) + " is not a name that a role may have",
		"use 1 to 63 of a-z, 0-9, _ and -, and begin with a letter", "bad_value"}
}
