package config

import (
	"maps"
	"net/url"
	"slices"
)

// checkBrokerURL accepts the URL of a RabbitMQ server (rabbitmq.com, "URI Specification") that names the server. It repeats
// nothing of the URL: a password with a / or ? in it ends up anywhere.
func checkBrokerURL(text string) *fault {
	const example = "write for example amqp://USER:PASSWORD@HOST:5672/VHOST"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return &fault{" is not a URL", example + "; in a password, write %25 for % and %2F for /", "bad_url"}
	case u.Fragment != "":
		return &fault{" must have no fragment", example + "; in a password, write %23 for #", "bad_url"}
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return &fault{" is not the URL of a RabbitMQ server", example + ", or amqps:// for TLS", "bad_url"}
	case u.Hostname() == "":
		return &fault{" names no server", example, "bad_url"}
	case len(u.RawPath) == 0 && len(u.Path) > 1 && slices.Contains([]byte(u.Path[1:]), '/'):
		return &fault{" has more than a virtual host behind the server", example + "; in a name, write %2F for /", "bad_url"}
	}
	if bad := checkBrokerOptions(u); bad != nil {
		return bad
	}
	if u.Port() != "" {
		return checkPort(u.Port())
	}
	return nil
}

// brokerOptions are those of rabbitmq.com, "URI Query Parameters", that the client library knows.
var brokerOptions = []string{"cacertfile", "certfile", "keyfile", "server_name_indication"}

func checkBrokerOptions(u *url.URL) *fault {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return &fault{" has options that are not NAME=VALUE", "correct what follows the ?; in a password, write %3F for ?", "bad_url"}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(brokerOptions, name) {
			return &fault{" has an unknown option", "use one of: cacertfile, certfile, keyfile, server_name_indication", "bad_url"}
		}
	}
	return nil
}
