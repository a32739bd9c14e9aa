package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// rules are the validations of texts that the library does not have. They return nil if the text is good.
func rules() map[string]func(string) *fault {
	return map[string]func(string) *fault{
		"listen": checkListen, "public_url": checkPublicURL, "origin": checkOrigin, "readable": checkReadable,
		"exchange": checkExchange, "module_name": checkModuleName, "size": checkSize, "postgres_url": checkPostgresURL,
		"redis_url": checkRedisURL, "broker_url": checkBrokerURL,
		"provider": checkProvider, "issuer_url": checkIssuerURL, "client_id": checkClientID,
		"scope": checkScope, "claim_value": checkClaimValue, "role": checkRole,
	}
}

var (
	hostname     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	exchangeName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,127}$`)
	moduleName   = regexp.MustCompile(`^[a-z][a-z0-9_]{1,40}$`)
)

func checkListen(text string) *fault {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return &fault{": " + display(text) + " is not host:port",
			"write for example 127.0.0.1:8080, or :8080 for every address", "bad_address"}
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostname.MatchString(host) {
		return &fault{": " + display(host) + " is neither an IP address nor a host name",
			"write for example 127.0.0.1:8080", "bad_address"}
	}
	return checkPort(port)
}

func checkPort(port string) *fault {
	_, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return &fault{": port " + port + " is out of range",
			"choose a port from 1 to 65535, or 0 for any that is free", "out_of_range"}
	default:
		return &fault{": port " + display(port) + " is not a number",
			"choose a port from 1 to 65535, or 0 for any that is free", "bad_address"}
	}
}

func checkPublicURL(text string) *fault {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return &fault{": " + display(text) + " is not an absolute http or https URL",
			"write for example https://platform.example.com", "bad_url"}
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return &fault{" must have no user, query or fragment",
			"write for example https://platform.example.com", "bad_url"}
	}
	if u.Port() != "" {
		return checkPort(u.Port())
	}
	return nil
}

// checkPostgresURL wants named what a driver would otherwise take from the environment, which modules do not share.
func checkPostgresURL(text string) *fault {
	const example = "write for example postgres://USER:PASSWORD@HOST:5432/DATABASE"
	u, err := url.Parse(text)
	if err != nil { // the error holds the URL, and with it the password
		return &fault{" is not a URL", example + "; in a password, write %25 for % and %2F for /", "bad_url"}
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return &fault{" is not the URL of a PostgreSQL database", example, "bad_url"} // what else it is may be secret
	}
	if u.Hostname() == "" && u.Query().Get("host") == "" {
		return &fault{" names no server", example + ", or ?host=/var/run/postgresql for a unix socket", "bad_url"}
	}
	if strings.Trim(u.Path, "/") == "" {
		return &fault{" names no database", example, "bad_url"}
	}
	if u.Fragment != "" {
		return &fault{" must have no fragment", example + "; in a password, write %23 for #", "bad_url"}
	}
	if u.Port() != "" {
		return checkPort(u.Port())
	}
	return nil
}

// checkOrigin accepts exactly the text that a browser sends: any other would never match.
func checkOrigin(text string) *fault {
	if text == "*" {
		return nil
	}
	bad := &fault{": " + display(text) + " is not an origin",
		"write for example https://app.example.com, or * for all", "bad_origin"}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(u.Host, "*, ") {
		return bad
	}
	host := strings.ToLower(u.Host)
	if defaults := map[string]string{"http": ":80", "https": ":443"}; u.Port() != "" {
		host = strings.TrimSuffix(host, defaults[u.Scheme])
	}
	if want := u.Scheme + "://" + host; text != want {
		bad.fix = "write " + want + ": a browser sends no path, no default port and no upper case"
		return bad
	}
	return nil
}

func checkReadable(path string) *fault {
	if _, _, err := readRegular(path, 1<<20); err != nil {
		return &fault{": " + err.Error(), "name a file that platformd may read", "unreadable"}
	}
	return nil
}

func checkExchange(name string) *fault {
	if exchangeName.MatchString(name) && !strings.HasPrefix(name, "amq.") {
		return nil
	}
	return &fault{": " + display(name) + " is not a name that an exchange may have",
		"use 1 to 127 letters, digits and _ . : - and do not begin with amq.", "bad_value"}
}

// checkSize reads sizes as manifests do. Less than 16MiB no process can start with.
func checkSize(text string) *fault {
	const least = 16 << 20
	var size manifest.Size
	if size.UnmarshalText([]byte(text)) != nil || size < least {
		return &fault{": " + display(text) + " is not a size of at least 16MiB", "write for example 128MiB", "bad_value"}
	}
	return nil
}

func checkModuleName(name string) *fault {
	if moduleName.MatchString(name) {
		return nil
	}
	return &fault{": " + display(name) + " is not the name of a module",
		"use the name in the module's module.yaml", "bad_value"}
}
