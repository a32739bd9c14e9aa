package manifest_test

import (
	"fmt"
	"strings"
)

// badCase is a manifest that must be refused. Its errors must include code at line; of those in cases() it must be the
// only one.
type badCase struct {
	name, text, code string
	line             int
}

// head is the beginning of a valid manifest, three lines long.
const head = "apiVersion: platformd/v1\nname: blog\nversion: 0.3.0\n"

// read is a permission for routes to use, on the lines 4 and 5.
const read = head + "permissions:\n  - {name: blog.post.read, description: Read posts}\n"

func route(fields string) string {
	return head + "routes:\n  - {" + fields + "}\n"
}

func routes(paths ...string) string {
	text := head + "routes:\n"
	for i, path := range paths {
		text += fmt.Sprintf("  - {id: r%d, method: GET, access: public, path: %q}\n", i, path)
	}
	return text
}

func badCases() []badCase {
	all := [][]badCase{fileCases(), keyCases(), identityCases(), requiresCases(), permissionCases(), routeCases(), pathCases(),
		runtimeCases(), grantCases(), eventCases(), serviceCases()}
	var flat []badCase
	for _, some := range all {
		flat = append(flat, some...)
	}
	return flat
}

func fileCases() []badCase {
	return []badCase{
		{"empty", "", "empty", 1},
		{"only comments", "# nothing\n\n", "empty", 1},
		{"only a separator", "---\n", "empty", 1},
		{"null", "null\n", "empty", 1},
		{"too large", head + "#" + strings.Repeat("x", 256<<10), "too_large", 1},
		{"too large, and not YAML", strings.Repeat("[", 1<<20), "too_large", 1},
		{"alias", head + "description: &a text\nmigrations: *a\n", "alias", 4},
		{"anchor without alias", head + "description: &a text\n", "alias", 4},
		{"unknown alias", head + "description: *nobody\n", "alias", 4},
		{"alias bomb", head + "a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n", "alias", 4},
		{"merge key", head + "<<: {description: text}\n", "unknown_key", 4},
		{"tag", head + "description: !!str 5\n", "tag", 4},
		{"duplicate key", head + "name: blog\n", "duplicate_key", 4},
		{"duplicate key, nested", head + "grants:\n  database: true\n  \"database\": true\n", "duplicate_key", 6},
		{"second document", head + "---\n" + head, "second_document", 4},
		{"second document, empty", head + "---\n", "second_document", 4},
		{"second document, not YAML", head + "---\n\t{[\n", "bad_yaml", 5},
		{"invalid UTF-8", head + "description: \"\xff\"\n", "bad_encoding", 4},
		{"truncated UTF-8", head + "description: \xe2\x82", "bad_encoding", 4},
		{"byte order mark", "\uFEFF" + head, "bad_encoding", 1},
		{"byte order mark inside", head + "description: a\uFEFFb\n", "bad_encoding", 4},
		{"UTF-16", "\xff\xfea\x00p\x00i\x00", "bad_encoding", 1},
		{"NUL", head + "description: a\x00b\n", "bad_encoding", 4},
		{"escape character", head + "description: \x1b[2J\n", "bad_encoding", 4},
		{"not YAML", head + "routes: [\n", "bad_yaml", 5},
		{"tab", head + "grants:\n\tdatabase: true\n", "bad_yaml", 5},
		{"bad indentation", head + "requires:\n  modules: {}\n optional: {}\n", "bad_yaml", 6},
		{"text", "hello\n", "bad_type", 1},
		{"list", "- name: blog\n", "bad_type", 1},
	}
}

func keyCases() []badCase {
	return []badCase{
		{"unknown key", head + "descripton: text\n", "unknown_key", 4},
		{"unknown key, nothing near", head + "author: me\n", "unknown_key", 4},
		{"unknown key, long", head + strings.Repeat("k", 900) + ": me\n", "unknown_key", 4},
		{"unknown key, nested", head + "runtime:\n  starttimeout: 5s\n", "unknown_key", 5},
		{"key that is a list", head + "? [a, b]\n: c\n", "unknown_key", 4},
		{"missing name", "apiVersion: platformd/v1\nversion: 0.3.0\n", "missing_key", 1},
		{"missing key, nested", head + "config: {}\n", "missing_key", 4},
		{"no value", head + "description:\n", "no_value", 4},
		{"no value, text", head + "description: \"\"\n", "no_value", 4},
		{"no value in a list", head + "runtime:\n  env:\n    - TZ\n    -\n", "no_value", 7},
		{"number for text", "apiVersion: platformd/v1\nname: blog\nversion: 0.3\n", "bad_type", 3},
		{"text for a boolean", head + "grants: {database: yes}\n", "bad_type", 4},
		{"number for a module", head + "requires:\n  modules:\n    5: \"*\"\n", "bad_type", 6},
		{"map for a list", head + "routes: {a: b}\n", "bad_type", 4},
		{"list for a map", head + "requires: [a]\n", "bad_type", 4},
		{"text for a number", head + "runtime: {restart: {max: many, window: 1m}}\n", "bad_type", 4},
		{"hexadecimal number", head + "runtime: {restart: {max: 0x10, window: 1m}}\n", "bad_type", 4},
		{"fraction", head + "runtime: {restart: {max: 1.5, window: 1m}}\n", "bad_type", 4},
		{"list for a duration", head + "runtime: {startTimeout: [5s]}\n", "bad_type", 4},
	}
}

func identityCases() []badCase {
	named := func(name string) string { return "apiVersion: platformd/v1\nname: " + name + "\nversion: 0.3.0\n" }
	versioned := func(v string) string { return "apiVersion: platformd/v1\nname: blog\nversion: " + v + "\n" }
	return []badCase{
		{"other apiVersion", "apiVersion: platformd/v2\nname: blog\nversion: 0.3.0\n", "bad_api_version", 1},
		{"name with a path", named("../x"), "bad_name", 2},
		{"name in upper case", named("A"), "bad_name", 2},
		{"name of one letter", named("a"), "bad_name", 2},
		{"name of 42 letters", named(strings.Repeat("a", 42)), "bad_name", 2},
		{"name of 200 letters", named(strings.Repeat("a", 200)), "bad_name", 2},
		{"name with a homoglyph", named("bl\u043eg"), "bad_name", 2},
		{"name with a line feed", named(`"blog\n"`), "bad_name", 2},
		{"name core", named("core"), "reserved_name", 2},
		{"name platform", named("platform"), "reserved_name", 2},
		{"name platformd", named("platformd"), "reserved_name", 2},
		{"name public", named("public"), "reserved_name", 2},
		{"name information_schema", named("information_schema"), "reserved_name", 2},
		{"name pg_x", named("pg_x"), "reserved_name", 2},
		{"version of two numbers", versioned(`"0.3"`), "bad_version", 3},
		{"version with a v", versioned("v0.3.0"), "bad_version", 3},
		{"version with a leading zero", versioned("0.03.0"), "bad_version", 3},
		{"version in words", versioned("latest"), "bad_version", 3},
		{"escape in the description", head + `description: "\e[2J"` + "\n", "bad_text", 4},
		{"reordered description", head + `description: "\u202Egolb"` + "\n", "bad_text", 4},
	}
}

func requiresCases() []badCase {
	return []badCase{
		{"platform constraint", head + "requires: {platform: soon}\n", "bad_constraint", 4},
		{"module constraint", head + "requires:\n  modules:\n    billing: 0.2.x.y\n", "bad_constraint", 6},
		{"optional constraint", head + "requires:\n  optional:\n    billing: \">>1\"\n", "bad_constraint", 6},
		{"module name", head + "requires:\n  modules:\n    ../billing: \"*\"\n", "bad_name", 6},
		{"reserved module", head + "requires:\n  modules: {core: \"*\"}\n", "reserved_name", 5},
		{"self-dependency", head + "requires:\n  modules:\n    blog: \"*\"\n", "self_dependency", 6},
		{"optional self-dependency", head + "requires: {optional: {blog: \"*\"}}\n", "self_dependency", 4},
		{"required and optional", head + "requires:\n  modules: {billing: \"*\"}\n  optional: {billing: \"*\"}\n",
			"ambiguous_dependency", 6},
	}
}

func permissionCases() []badCase {
	permission := func(name string) string {
		return head + "permissions:\n  - {name: " + name + ", description: text}\n"
	}
	return []badCase{
		{"two parts", permission("blog.read"), "bad_permission", 5},
		{"four parts", permission("blog.post.read.all"), "bad_permission", 5},
		{"upper case", permission("blog.Post.read"), "bad_permission", 5},
		{"wildcard permission", permission(`"blog.*.read"`), "bad_permission", 5},
		{"empty part", permission("blog..read"), "bad_permission", 5},
		{"foreign permission", permission("billing.plan.read"), "foreign_permission", 5},
		{"foreign permission with the same beginning", permission("blogger.post.read"), "foreign_permission", 5},
		{"duplicate permission", read + "  - {name: blog.post.read, description: again}\n", "duplicate_permission", 6},
		{"no description", head + "permissions:\n  - name: blog.post.read\n", "missing_key", 5},
		{"blank description", head + "permissions:\n  - {name: blog.post.read, description: \" \"}\n", "missing_description", 5},
		{"role", head + "permissions:\n  - {name: blog.a.b, description: text, roles: [Member]}\n", "bad_role", 5},
		{"duplicate role", head + "permissions:\n  - {name: blog.a.b, description: text, roles: [a, a]}\n", "duplicate_role", 5},
	}
}

func routeCases() []badCase {
	return []badCase{
		{"neither permission nor access", route("id: a, method: GET, path: /a"), "route_without_access", 5},
		{"both", read + "routes:\n  - {id: a, method: GET, path: /a, permission: blog.post.read, access: public}\n",
			"ambiguous_access", 7},
		{"undeclared permission", read + "routes:\n  - {id: a, method: GET, path: /a, permission: blog.post.write}\n",
			"undeclared_permission", 7},
		{"other access", route("id: a, method: GET, path: /a, access: everybody"), "bad_access", 5},
		{"route id", route("id: a-b, method: GET, path: /a, access: public"), "bad_route_id", 5},
		{"duplicate route id", routes("/a") + "  - {id: r0, method: GET, access: public, path: /b}\n", "duplicate_route", 6},
		{"method in lower case", route("id: a, method: get, path: /a, access: public"), "bad_method", 5},
		{"method CONNECT", route("id: a, method: CONNECT, path: /a, access: public"), "bad_method", 5},
		{"other stream", route("id: a, method: GET, path: /a, access: public, stream: grpc"), "bad_stream", 5},
		{"sse with POST", route("id: a, method: POST, path: /a, access: public, stream: sse"), "stream_needs_get", 5},
		{"websocket with PUT", route("id: a, method: PUT, path: /a, access: public, stream: websocket"), "stream_needs_get", 5},
		{"maxBody without unit", route("id: a, method: GET, path: /a, access: public, maxBody: 1024"), "bad_size", 5},
		{"maxBody zero", route("id: a, method: GET, path: /a, access: public, maxBody: 0B"), "bad_size", 5},
		{"maxBody negative", route("id: a, method: GET, path: /a, access: public, maxBody: -1MiB"), "bad_size", 5},
		{"maxBody in MB", route("id: a, method: GET, path: /a, access: public, maxBody: 1MB"), "bad_size", 5},
		{"maxBody too large", route("id: a, method: GET, path: /a, access: public, maxBody: 17179869185GiB"), "bad_size", 5},
		{"timeout without unit", route("id: a, method: GET, path: /a, access: public, timeout: 5"), "bad_duration", 5},
		{"timeout zero", route("id: a, method: GET, path: /a, access: public, timeout: 0s"), "bad_duration", 5},
		{"timeout negative", route("id: a, method: GET, path: /a, access: public, timeout: -5s"), "bad_duration", 5},
		{"idempotencyKey on PUT", route("id: a, method: PUT, path: /a, access: public, idempotencyKey: true"),
			"needless_idempotency_key", 5},
		{"needs a stranger", route("id: a, method: GET, path: /a, access: public, needs: [billing]"), "undeclared_need", 5},
		{"needs twice", head + "requires: {modules: {billing: \"*\"}}\nroutes:\n" +
			"  - {id: a, method: GET, path: /a, access: public, needs: [billing, billing]}\n", "duplicate_need", 6},
		{"summary with an escape", route(`id: a, method: GET, path: /a, access: public, summary: "\e[2J"`), "bad_text", 5},
		{"same path", routes("/a", "/b", "/a"), "route_conflict", 7},
		{"same path, other parameter", routes("/a/{id}", "/a/{name}"), "route_conflict", 6},
		{"wildcard over a parameter", routes("/a/{rest...}", "/a/{id}"), "route_conflict", 6},
		{"wildcard over a literal", routes("/a/b/c", "/a/{rest...}"), "route_conflict", 6},
		{"two wildcards", routes("/a/{x...}", "/a/{y...}"), "route_conflict", 6},
		{"wildcard over everything", routes("/{rest...}", "/a"), "route_conflict", 6},
	}
}

func pathCases() []badCase {
	var cases []badCase
	for _, path := range []string{
		"posts", "../posts", "/posts/../x", "/./posts", "/posts/..", "/posts/.", "//posts", "/posts//x", "/posts/", "//",
		"/%70osts", "/a%2fb", "/a%2e%2e", `/a\\b`, "/a\tb", "/a b", "/\u00e9", "/a?b=c", "/a#b", "/*", "/*rest", "/:id",
		"/a:verb", "/{}", "/{...}", "/{id", "/id}", "/{a b}", "/{1a}", "/{a-b}", "/x{id}", "/{id}x", "/{rest...}/x",
		"/{rest..}", "/{rest....}", "/{id}/{id}", "/{id}/{id...}", "https://example.com/a",
	} {
		text := fmt.Sprintf("id: a, method: GET, access: public, path: \"%s\"", path)
		cases = append(cases, badCase{"path " + path, route(text), "bad_route_path", 5})
	}
	return append(cases, badCase{"path of 1025 bytes", routes("/" + strings.Repeat("a", 1024)), "bad_route_path", 5})
}

func runtimeCases() []badCase {
	cases := []badCase{
		{"migrations", head + "migrations: rust\n", "bad_migrations", 4},
		{"migrations without a database", head + "migrations: go\n", "migrations_without_database", 4},
		{"no kind of upgrade", head + "runtime: {upgrade: never}\n", "bad_upgrade", 4},
		{"too many instances", head + "runtime: {instances: 65}\n", "out_of_bounds", 4},
		{"a negative number of instances", head + "runtime: {instances: -1}\n", "bad_amount", 4},
		{"no concurrency", head + "runtime: {concurrency: 0}\n", "bad_amount", 4},
		{"negative concurrency", head + "runtime: {concurrency: -1}\n", "bad_amount", 4},
		{"concurrency too large", head + "runtime: {concurrency: 65537}\n", "out_of_bounds", 4},
		{"text for concurrency", head + "runtime: {concurrency: many}\n", "bad_amount", 4},
		{"start too short", head + "runtime: {startTimeout: 99ms}\n", "out_of_bounds", 4},
		{"stop too long", head + "runtime:\n  stopTimeout: 10m1s\n", "out_of_bounds", 5},
		{"start without unit", head + "runtime: {startTimeout: 5}\n", "bad_duration", 4},
		{"restart negative", head + "runtime: {restart: {max: -1, window: 1m}}\n", "bad_restart", 4},
		{"restart without window", head + "runtime: {restart: {max: 1}}\n", "missing_key", 4},
		{"memory too small", head + "runtime: {memory: 15MiB}\n", "out_of_bounds", 4},
		{"memory too large", head + "runtime: {memory: 1025GiB}\n", "out_of_bounds", 4},
		{"memory without unit", head + "runtime: {memory: 256}\n", "bad_size", 4},
		{"cpu zero", head + "runtime: {cpu: 0}\n", "bad_type", 4},
		{"cpu negative", head + "runtime: {cpu: -1}\n", "out_of_bounds", 4},
		{"cpu as text", head + "runtime: {cpu: \"1\"}\n", "bad_type", 4},
		{"cpu too small", head + "runtime: {cpu: 0.001}\n", "out_of_bounds", 4},
		{"cpu not a number", head + "runtime: {cpu: .nan}\n", "bad_type", 4},
		{"cpu without end", head + "runtime: {cpu: .inf}\n", "bad_type", 4},
		{"pids too few", head + "runtime: {pids: 15}\n", "out_of_bounds", 4},
		{"pids too many", head + "runtime: {pids: 10000000}\n", "out_of_bounds", 4},
		{"pids in fractions", head + "runtime: {pids: 20.5}\n", "bad_amount", 4},
		{"no pids", head + "runtime: {pids: 0}\n", "bad_amount", 4},
		{"open files negative", head + "runtime: {openFiles: -1}\n", "bad_amount", 4},
		{"open files too few", head + "runtime: {openFiles: 3}\n", "out_of_bounds", 4},
		{"env with a value", head + "runtime: {env: [TZ=UTC]}\n", "bad_env", 4},
		{"env of the platform", head + "runtime: {env: [PLATFORMD_AUTH_KEY]}\n", "reserved_env", 4},
		{"env of go-plugin", head + "runtime: {env: [PLUGIN_UNIX_SOCKET_DIR]}\n", "reserved_env", 4},
		{"env twice", head + "runtime: {env: [TZ, TZ]}\n", "duplicate_env", 4},
	}
	for _, path := range []string{"/bin/sh", "../sh", "bin/../../sh", "./bin/x", "bin//x", "bin/", ".", "..", `bin\\x`, `a\nb`} {
		cases = append(cases,
			badCase{"executable " + path, head + "runtime: {executable: \"" + path + "\"}\n", "bad_path", 4},
			badCase{"config schema " + path, head + "config: {schema: \"" + path + "\"}\n", "bad_path", 4})
	}
	return cases
}

func grantCases() []badCase {
	cases := []badCase{
		{"cache: too little", head + "grants: {cache: 1B}\n", "out_of_bounds", 4},
		{"cache: too much", head + "grants: {cache: 2GiB}\n", "out_of_bounds", 4},
		{"cache: no size", head + "grants: {cache: true}\n", "bad_type", 4},
		{"grants: a word for a list", head + "grants: {authz: check}\n", "bad_type", 4},
		{"grants: twice", head + "grants:\n  audit: [write, write]\n", "duplicate_grant", 5},
		{"grants: unknown", head + "grants: {mail: [send]}\n", "unknown_key", 4},
	}
	for _, grant := range []string{"auth", "identity", "authz", "audit"} {
		cases = append(cases, badCase{"grants: " + grant, head + "grants:\n  " + grant + ":\n    - root\n", "bad_grant", 6})
	}
	return cases
}
