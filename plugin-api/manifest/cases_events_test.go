package manifest_test

import (
	"fmt"
	"strings"
)

func eventCases() []badCase {
	publishes := func(fields string) string { return head + "events:\n  publishes:\n    - {" + fields + "}\n" }
	subscribes := func(fields string) string { return head + "events:\n  subscribes:\n    - {" + fields + "}\n" }
	wants := func(fields string) string { return subscribes("type: billing.plan.changed, " + fields) }
	long := strings.Repeat("a", 256)
	cases := []badCase{
		{"events: a list", head + "events: [blog.post.created]\n", "bad_type", 4},
		{"events: unknown key", head + "events: {publish: []}\n", "unknown_key", 4},
		{"publishes: a word", head + "events: {publishes: [blog.post.created]}\n", "bad_type", 4},
		{"publishes: no type", publishes("version: 1"), "missing_key", 6},
		{"publishes: no version", publishes("type: blog.post.created"), "missing_key", 6},
		{"publishes: unknown key", publishes("type: blog.post.created, version: 1, shema: a.json"), "unknown_key", 6},
		{"publishes: version 0", publishes("type: blog.post.created, version: 0"), "bad_amount", 6},
		{"publishes: negative version", publishes("type: blog.post.created, version: -1"), "bad_amount", 6},
		{"publishes: version as text", publishes("type: blog.post.created, version: v1"), "bad_amount", 6},
		{"publishes: version too large", publishes("type: blog.post.created, version: 1048577"), "out_of_bounds", 6},
		{"publishes: another's type", publishes("type: billing.plan.changed, version: 1"), "foreign_event", 6},
		{"publishes: another's type that begins alike", publishes("type: blogs.post.created, version: 1"), "foreign_event", 6},
		{"publishes: twice", publishes("type: blog.post.created, version: 1") +
			"    - {type: blog.post.created, version: 1, schema: a.json}\n", "duplicate_event", 7},
		{"subscribes: no type", subscribes("order: key"), "missing_key", 6},
		{"subscribes: unknown key", wants("retries: 5"), "unknown_key", 6},
		{"subscribes: version 0", wants("version: 0"), "bad_amount", 6},
		{"subscribes: version too large", wants("version: 1048577"), "out_of_bounds", 6},
		{"subscribes: no concurrency", wants("concurrency: 0"), "bad_amount", 6},
		{"subscribes: negative concurrency", wants("concurrency: -1"), "bad_amount", 6},
		{"subscribes: too much concurrency", wants("concurrency: 257"), "out_of_bounds", 6},
		{"subscribes: order", wants("order: fifo"), "bad_order", 6},
		{"subscribes: order that is no word", wants("order: true"), "bad_type", 6},
		{"subscribes: timeout too short", wants("timeout: 999ms"), "out_of_bounds", 6},
		{"subscribes: timeout too long", wants("timeout: 10m1s"), "out_of_bounds", 6},
		{"subscribes: timeout without unit", wants("timeout: 30"), "bad_duration", 6},
		{"subscribes: retry as a number", wants("retry: 5"), "bad_type", 6},
		{"subscribes: no attempt", wants("retry: {max: 0}"), "bad_amount", 6},
		{"subscribes: too many attempts", wants("retry: {max: 101}"), "out_of_bounds", 6},
		{"subscribes: unknown key of retry", wants("retry: {maximum: 3}"), "unknown_key", 6},
		{"subscribes: twice", wants("order: key") + "    - {type: billing.plan.changed}\n", "duplicate_subscription", 7},
	}
	for _, name := range []string{"blog", "Blog.post.created", "blog.Post", "blog..created", ".created", "blog.",
		"blog.post-created", "blog.1st", "blog post.created", "bl\u043eg.post.created", "blog." + long} {
		cases = append(cases,
			badCase{"publishes: " + name, publishes(`type: "` + name + `", version: 1`), "bad_event_type", 6},
			badCase{"subscribes: " + name, subscribes(`type: "` + name + `"`), "bad_event_pattern", 6})
	}
	cases = append(cases, badCase{"publishes: a pattern", publishes(`type: "blog.*", version: 1`), "bad_event_type", 6})
	for _, pattern := range []string{"*", "*.created", "blog.*.created", "blog.post*", "blog.**", "blog.#"} {
		cases = append(cases, badCase{"subscribes: " + pattern, subscribes(`type: "` + pattern + `"`), "bad_event_pattern", 6})
	}
	for _, path := range []string{"/etc/passwd", "../a.json", "events/../../a.json", "./a.json", "events//a.json", "."} {
		cases = append(cases, badCase{"publishes: schema " + path,
			publishes(`type: blog.post.created, version: 1, schema: "` + path + `"`), "bad_path", 6})
	}
	return cases
}

func serviceCases() []badCase {
	const requires = head + "requires: {modules: {billing: \"*\"}}\n"
	provides := func(names string) string { return head + "services:\n  provides: [" + names + "]\n" }
	consumes := func(names string) string { return requires + "services:\n  consumes: [" + names + "]\n" }
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("a.S%d", i))
	}
	cases := []badCase{
		{"services: a list", head + "services: [a.B]\n", "bad_type", 4},
		{"services: without value", head + "services:\n", "no_value", 4},
		{"services: unknown key", head + "services: {provide: [a.B]}\n", "unknown_key", 4},
		{"services: a word", head + "services: {provides: a.B}\n", "bad_type", 4},
		{"provides: twice", provides("a.B, a.C, a.B"), "duplicate_service", 5},
		{"provides: a method", provides("a.B/C"), "bad_service", 5},
		{"provides: too many", provides(strings.Join(many, ", ")), "out_of_bounds", 5},
		{"consumes: too many", consumes(strings.Join(many, ", ")), "out_of_bounds", 6},
		{"consumes: twice", consumes("a.B/C, a.B/C"), "duplicate_service", 6},
		{"consumes: a method of what it consumes whole", consumes("a.B/C, a.B"), "duplicate_service", 6},
		{"consumes: its own", requires + "services: {provides: [a.B], consumes: [a.B/C]}\n", "own_service", 5},
		{"consumes: of nobody", head + "services:\n  consumes: [a.B]\n", "consumes_of_nobody", 5},
		{"consumes: two methods", consumes("a.B/C/D"), "bad_service", 6},
		{"consumes: no method", consumes("a.B/"), "bad_service", 6},
		{"consumes: a leading slash", consumes("/a.B/C"), "bad_service", 6},
	}
	for _, name := range []string{"B", "a..B", ".a.B", "a.B.", "a.1B", "a-b.C", "a b.C", "bl\u043eg.v1.B", "a.*",
		"a." + strings.Repeat("B", 255)} {
		cases = append(cases,
			badCase{"provides: " + name, provides(`"` + name + `"`), "bad_service", 5},
			badCase{"consumes: " + name, consumes(`"` + name + `"`), "bad_service", 6})
	}
	for _, name := range []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "platform.core.v1.Auth"} {
		cases = append(cases,
			badCase{"provides: " + name, provides(name), "reserved_service", 5},
			badCase{"consumes: " + name, consumes(name), "reserved_service", 6})
	}
	return cases
}
