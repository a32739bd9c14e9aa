package hop

// claims are the headers in which proxies that authenticate, and servers behind them, name the caller. To a module they would be
// a client's own word. Those that end in "-" are beginnings.
func claims() []string {
	return []string{
		"remote-user", "x-remote-user",
		"x-user", "x-user-", "x-username", "x-userinfo", "x-principal", "x-principal-", "x-identity", "x-identity-", "x-subject",
		"x-role", "x-roles", "x-groups", "x-permissions", "x-scopes", "x-tenant-user",
		"x-token", "x-access-token", "x-id-token", "x-jwt-",
		"x-auth-", "x-authenticated-", "x-webauth-", "x-impersonate-", "impersonate-",
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token",
		"x-client-cert", "x-client-cert-", "x-ssl-client-",
		"x-ms-client-principal", "x-ms-client-principal-", "x-amzn-oidc-", "x-goog-authenticated-", "x-goog-iap-", "cf-access-",
		"x-endpoint-api-userinfo",
	}
}

// claimed holds the claims by their first letter.
var claimed = byFirstLetter(claims())

func byFirstLetter(names []string) (index [256][]string) {
	for _, name := range names {
		index[name[0]] = append(index[name[0]], name)
	}
	return index
}

// ClaimsIdentity tells whether a header, in any spelling that Reserved reads, says who the caller is.
func ClaimsIdentity(name string) bool {
	if name == "" || normal("x-user-agent", name) {
		return false
	}
	for _, claim := range claimed[name[0]|0x20] {
		if normal(claim, name) {
			return true
		}
	}
	return false
}

// normal tells whether name reads as claim; a claim that ends in "-" may go on.
func normal(claim, name string) bool {
	if len(name) < len(claim) || len(name) > len(claim) && claim[len(claim)-1] != '-' {
		return false
	}
	for i := range len(claim) {
		b := name[i]
		switch {
		case !alphanumeric(b):
			b = '-'
		case b >= 'A':
			b |= 0x20
		}
		if b != claim[i] {
			return false
		}
	}
	return true
}
