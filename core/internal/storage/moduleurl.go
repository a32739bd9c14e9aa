package storage

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// address is where the core finds its server, and what of that a module may know.
type address struct {
	url   *url.URL
	roots []byte // PEM, of sslrootcert
}

// own are the parameters of the core's URL that are its alone: who it is, and what its sessions are set to.
func own() []string {
	return []string{"user", "password", "passfile", "service", "servicefile", "sslcert", "sslkey", "sslpassword",
		"options", "search_path", "role", "application_name", "krbsrvname", "krbspn"}
}

// parseAddress reads a URL that the configuration has checked. Its errors never hold the URL, which may hold a password.
func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return address{}, errors.New("database.url is not the URL of a PostgreSQL database " +
			"(fix: write postgres://USER:PASSWORD@HOST/DATABASE)")
	}
	a := address{url: u}
	if file := u.Query().Get("sslrootcert"); file != "" && file != "system" {
		if a.roots, err = os.ReadFile(file); err != nil {
			return address{}, fmt.Errorf("database.url: read sslrootcert: %w (fix: name a file that platformd may read)", err)
		}
	}
	return a, nil
}

// String says which database on which server, and nothing secret.
func (a address) String() string {
	host := a.url.Host
	if named := a.url.Query().Get("host"); named != "" {
		host = named
	}
	return fmt.Sprintf("database %s on %s", strings.TrimPrefix(a.url.Path, "/"), host)
}

// with is the URL of the same database for a role of its own.
func (a address) with(role, password, module string) string {
	return a.forModule(url.UserPassword(role, password), module)
}

// shared is the URL of the same database under the core's own name, for a module to which nothing but its own schema is named.
func (a address) shared(module string) string {
	user, query := a.url.User, a.url.Query()
	if user == nil && query.Get("user") != "" {
		user = url.UserPassword(query.Get("user"), query.Get("password"))
	}
	return a.forModule(user, module, "search_path", module)
}

func (a address) forModule(user *url.Userinfo, module string, extra ...string) string {
	u := *a.url
	query := u.Query()
	for _, name := range own() {
		query.Del(name)
	}
	if len(a.roots) > 0 {
		query.Del("sslrootcert") // they travel with it: the module may not read the file
	}
	query.Set("application_name", "platformd:"+module)
	for i := 0; i < len(extra); i += 2 {
		query.Set(extra[i], extra[i+1])
	}
	u.User, u.RawQuery = user, query.Encode()
	return u.String()
}
