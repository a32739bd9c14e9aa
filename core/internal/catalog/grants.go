package catalog

import (
	"fmt"
	"slices"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// grantDatabase is the Ask without which a module that makes it cannot start.
const grantDatabase = "database"

// Ask is one thing that a manifest asks of the platform, beyond being run and called.
type Ask struct {
	// Grant names it: database, cache 16MiB, identity.read, events.publish TYPE, events.subscribe TYPE, call SERVICE[/METHOD], or
	// env NAME.
	Grant string
	// Detail says it in words.
	Detail string
}

// Asks returns what a manifest asks for, in the manifest's order.
func Asks(m *manifest.Manifest) (asks []Ask) {
	add := func(grant, detail string, args ...any) { asks = append(asks, Ask{grant, fmt.Sprintf(detail, args...)}) }
	g := &m.Grants
	if g.Database {
		add(grantDatabase, "tables of its own in the platform's database")
	}
	if g.Cache > 0 {
		add(cacheGrant(m), "keep up to %s in the cache", g.Cache)
	}
	for _, list := range lists(g) {
		for _, access := range *list.given {
			add(list.key+"."+access, "%s", list.detail)
		}
	}
	for _, p := range m.Events.Publishes {
		if grant := "events.publish " + p.Type; !slices.ContainsFunc(asks, func(a Ask) bool { return a.Grant == grant }) {
			add(grant, "tell others of %s", p.Type)
		}
	}
	for _, s := range m.Events.Subscribes {
		add("events.subscribe "+s.Type, "hear of %s", s.Type)
	}
	for _, service := range m.Services.Consumes {
		add("call "+service, "call %s of another module", service)
	}
	for _, name := range m.Runtime.Env {
		add("env "+name, "read %s of the platform's environment", name)
	}
	return asks
}

func cacheGrant(m *manifest.Manifest) string { return fmt.Sprintf("cache %s", m.Grants.Cache) }

// list is one of the lists under grants.
type list struct {
	key, detail string
	given       *[]string
}

func lists(g *manifest.Grants) []list {
	return []list{
		{"auth", "find out whose a token is", &g.Auth},
		{"identity", "read who the users are", &g.Identity},
		{"authz", "ask what somebody may do", &g.Authz},
		{"audit", "add to the audit log", &g.Audit},
	}
}

// without returns a manifest that does not ask for some of what m asks for. m is not changed.
func without(m *manifest.Manifest, grants []string) *manifest.Manifest {
	gone := func(grant string) bool { return slices.Contains(grants, grant) }
	next := *m
	next.Grants.Database = m.Grants.Database && !gone(grantDatabase)
	if gone(cacheGrant(m)) {
		next.Grants.Cache = 0
	}
	for _, list := range lists(&next.Grants) {
		*list.given = kept(*list.given, func(access string) string { return list.key + "." + access }, gone)
	}
	next.Events.Publishes = kept(m.Events.Publishes, func(p manifest.Publication) string { return "events.publish " + p.Type }, gone)
	next.Events.Subscribes = kept(m.Events.Subscribes,
		func(s manifest.Subscription) string { return "events.subscribe " + s.Type }, gone)
	next.Runtime.Env = kept(m.Runtime.Env, func(name string) string { return "env " + name }, gone)
	next.Services.Consumes = kept(m.Services.Consumes, func(service string) string { return "call " + service }, gone)
	return &next
}

func kept[T any](all []T, name func(T) string, gone func(string) bool) (left []T) {
	for _, one := range all {
		if !gone(name(one)) {
			left = append(left, one)
		}
	}
	return left
}
