package config

import "maps"

// descriptions says in one line what each key is for: config.yaml has them as comments, the schema as descriptions.
func descriptions() map[string]string {
	all := map[string]string{
		"server":                         "How clients reach the platform.",
		"server.listen":                  "Address of the HTTP server, host:port.",
		"server.publicURL":               "URL under which clients reach the platform; empty: derived from listen.",
		"server.tls":                     "Serve HTTPS: both files or neither.",
		"server.tls.cert":                "PEM file with the certificate chain.",
		"server.tls.key":                 "PEM file with the private key.",
		"server.trustedProxies":          "IP addresses or CIDR ranges of proxies whose X-Forwarded-For is believed.",
		"server.maxConnections":          "Most connections of all clients at once; 0: no limit.",
		"server.maxConnectionsPerClient": "Most connections of one IP address or IPv6 /64, trusted proxies excepted; 0: no limit.",
		"server.cors":                    "Which web pages may call the platform from a browser.",
		"server.cors.origins":            "Origins such as https://app.example.com, or * for all; empty: none.",
		"server.holdTimeout":             "How long a request waits for a module that is restarting.",
		"server.drainTimeout":            "How long a stop waits for requests in flight.",

		"data":     "What platformd must not lose.",
		"data.dir": "Directory of the databases, the logs and the control socket.",

		"modules":               "Where modules are, and how single ones differ from the rest.",
		"modules.dir":           "Directory that is scanned for NAME/module.yaml.",
		"modules.requireSigned": "Refuse modules without a trusted signature.",
		"modules.overrides":     "By name of a module: config, restart, limits, enabled.",

		"database":                "Without a server: SQLite files in data.dir.",
		"database.url":            "URL of a PostgreSQL database, which should belong to a role that may create roles.",
		"database.maxConns":       "Most connections that the core opens.",
		"database.moduleMaxConns": "Most connections that each process of a module opens.",
		"database.isolation":      "What keeps modules apart on a server: role, or schema, which trusts them.",

		"events":          "Without a broker: an embedded bus.",
		"events.url":      "URL of a RabbitMQ server: amqp:// or amqps:// (TLS).",
		"events.exchange": "What the names of all exchanges and queues on the broker begin with.",

		"cache":     "Without a server: a cache in the process.",
		"cache.url": "URL of a Redis server: redis://, rediss:// (TLS) or unix://.",

		"services":         "Calls between modules.",
		"services.timeout": "How long a call may take whose caller sets no deadline, at most 1h; streams have no limit.",

		"supervisor":                "What happens when a module's process ends.",
		"supervisor.restart":        "How many restarts are normal.",
		"supervisor.restart.max":    "Restarts within the window before a module counts as crash-looping.",
		"supervisor.restart.window": "Time within which restarts are counted.",

		"auth":            "Sign-in.",
		"auth.accessTTL":  "How long an access token is valid.",
		"auth.refreshTTL": "How long a session lasts without use.",
		"auth.oidc":       "OpenID Connect providers that people may sign in with.",

		"audit":           "The record of who did what.",
		"audit.retention": "How long its rows are kept, at least 24h; 0s: for ever.",

		"log":        "What the daemon logs.",
		"log.level":  "Least severe level that is logged: trace, debug, info, warn or error.",
		"log.format": "auto (text on a terminal, JSON elsewhere), text or json.",
	}
	maps.Copy(all, overrideDescriptions())
	maps.Copy(all, providerDescriptions())
	return all
}

func overrideDescriptions() map[string]string {
	return map[string]string{
		"modules.overrides.*.config":             "The module's own configuration, as its schema asks.",
		"modules.overrides.*.restart":            "Where the module differs from supervisor.restart and its manifest.",
		"modules.overrides.*.restart.max":        "Restarts within the window before the module counts as crash-looping.",
		"modules.overrides.*.restart.window":     "Time within which restarts are counted.",
		"modules.overrides.*.limits":             "Limits of each process, tighter than the manifest's.",
		"modules.overrides.*.limits.memory":      "Memory that it may use, such as 128MiB.",
		"modules.overrides.*.limits.cpu":         "Processors that it may keep busy, such as 0.5.",
		"modules.overrides.*.limits.pids":        "Processes and threads that it may have.",
		"modules.overrides.*.limits.openFiles":   "Files and connections that it may have open.",
		"modules.overrides.*.limits.concurrency": "Requests that it may have in progress.",
		"modules.overrides.*.enabled":            "Whether the module may start; unset: yes.",
	}
}

func providerDescriptions() map[string]string {
	return map[string]string{
		"auth.oidc.*.name":         "Its name in the URLs of platformd; it should never change.",
		"auth.oidc.*.url":          "The issuer, as the provider's discovery document spells it; https, except on this host.",
		"auth.oidc.*.clientID":     "The id under which the provider knows platformd.",
		"auth.oidc.*.clientSecret": "The secret that belongs to clientID, best as ${NAME}; unset: a public client.",
		"auth.oidc.*.audience":     "Whom the ID tokens of machines are for; unset: clientID.",
		"auth.oidc.*.scopes":       "What is asked for beside openid; unset: profile and email.",
		"auth.oidc.*.roleClaim":    "Claim with a user's groups or the like; the names of nested ones are joined by dots.",
		"auth.oidc.*.roles":        "By value of roleClaim: the roles that it is worth.",
		"auth.oidc.*.allowSignUp":  "Whether whom the provider knows, and nobody here, gets an account; unset: no.",
	}
}
