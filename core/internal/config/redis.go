package config

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/plugin-api/nearest"
)

// checkRedisURL accepts what go-redis's ParseURL does, if it names the server: there is no default that would be right on
// two machines. It repeats nothing of the URL before all of it is understood: a password with a / or ? in it ends up anywhere.
func checkRedisURL(text string) *fault {
	const example = "write for example redis://USER:PASSWORD@HOST:6379/0"
	u, err := url.Parse(text)
	if err != nil {
		return &fault{" is not a URL", example + "; in a password, write %25 for % and %2F for /", "bad_url"}
	}
	if u.Fragment != "" {
		return &fault{" must have no fragment", example + "; in a password, write %23 for #", "bad_url"}
	}
	if bad := checkRedisOptions(u); bad != nil {
		return bad
	}
	if word, _ := u.User.Password(); u.User.Username() != "" && word == "" {
		return &fault{" names a user without a password", example + ", or redis://:PASSWORD@HOST:6379 for no user", "bad_url"}
	}
	switch {
	case u.Scheme == "unix":
		return checkRedisSocket(u)
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return &fault{" is not the URL of a Redis server", example + ", rediss:// for TLS, or unix:///path", "bad_url"}
	case u.Hostname() == "":
		return &fault{" names no server", example + ", or unix:///run/redis.sock for a unix socket", "bad_url"}
	case !databaseNumber.MatchString(strings.Trim(u.Path, "/")):
		return &fault{" has a path that is not the number of a database", example + "; in a password, write %2F for /", "bad_url"}
	case u.Port() != "":
		return checkPort(u.Port())
	}
	return nil
}

func checkRedisSocket(u *url.URL) *fault {
	const example = "write for example unix:///run/redis.sock?db=0"
	switch {
	case u.Host != "": // unix://run/redis.sock would be /redis.sock
		return &fault{" has something before the path of its unix socket", example + ", with three slashes", "bad_url"}
	case strings.Trim(u.Path, "/ ") == "":
		return &fault{" names no unix socket", example, "bad_url"}
	}
	return nil
}

// checkRedisOptions finds a slip of the pen here, and not when the daemon starts.
func checkRedisOptions(u *url.URL) *fault {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return &fault{" has options that are not NAME=VALUE", "correct what follows the ?; in a password, write %3F for ?", "bad_url"}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if bad := checkRedisOption(u.Scheme, name, query[name]); bad != nil {
			return bad
		}
	}
	return nil
}

func checkRedisOption(scheme, name string, values []string) *fault {
	forms := redisOptions(scheme)
	names := slices.Sorted(maps.Keys(forms))
	form, known := forms[name]
	if near := nearest.Names(name, names); !known && len(near) > 0 {
		return &fault{fmt.Sprintf(" has an unknown option; did you mean %q?", near[0]), "rename it to " + near[0], "bad_url"}
	}
	if !known {
		return &fault{" has an unknown option",
			"use one of: " + strings.Join(names, ", ") + "; in a password, write %3F for ?", "bad_url"}
	}
	if i := slices.IndexFunc(values, func(text string) bool { return !form.reads(text) }); i >= 0 {
		return &fault{": the option " + name + " cannot have this value", "write for example " + form.example, "bad_url"}
	}
	return nil
}

// redisForm is what the value of an option looks like. An empty one stands for the default.
type redisForm struct {
	reads   func(string) bool
	example string
}

// redisOptions are those that go-redis reads, without names that it keeps for the sake of old URLs only.
func redisOptions(scheme string) map[string]redisForm {
	all := map[string]redisForm{
		"db":          {func(text string) bool { return databaseNumber.MatchString(text) }, "db=0"},
		"client_name": {func(string) bool { return true }, "client_name=platformd"},
		"pool_fifo":   {isRedisBool, "pool_fifo=true"},
	}
	if scheme == "rediss" {
		all["skip_verify"] = redisForm{isRedisBool, "skip_verify=true"}
	}
	for _, name := range []string{"protocol", "max_retries", "pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns",
		"max_concurrent_dials", "pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size"} {
		all[name] = redisForm{isRedisNumber, name + "=3"}
	}
	for _, name := range []string{"min_retry_backoff", "max_retry_backoff", "dial_timeout", "read_timeout", "write_timeout",
		"pool_timeout", "conn_max_idle_time", "conn_max_lifetime", "conn_max_lifetime_jitter"} {
		all[name] = redisForm{isRedisDuration, name + "=3s"}
	}
	return all
}

// databaseNumber leaves room for more databases than any server has.
var databaseNumber = regexp.MustCompile(`^[0-9]{0,6}$`)

func isRedisBool(text string) bool {
	return slices.Contains([]string{"", "true", "false", "1", "0"}, text)
}

func isRedisNumber(text string) bool {
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil || text == ""
}

// isRedisDuration: a number without a unit is of seconds.
func isRedisDuration(text string) bool {
	_, err := time.ParseDuration(text)
	return err == nil || isRedisNumber(text)
}
