package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// Offer is what a module's code offers, as the running binary describes it.
type Offer struct {
	// Routes are the ids that it has a handler for; Mount says that it serves any other route too.
	Routes []string
	Mount  bool
	// Migrations are the ids of its schema changes.
	Migrations []string
	// Subscriptions are the patterns of events that it has a handler for.
	Subscriptions []string
}

// Compare says how what the code offers differs from the manifest; nil if it does not. A module that differs must not run:
// its routes would answer nothing, or its code would wait for requests that never come.
func (m *Manifest) Compare(o Offer) error {
	var differences []string
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	declared := make([]string, 0, len(m.Routes))
	for _, route := range m.Routes {
		declared = append(declared, route.ID)
		if !o.Mount && !slices.Contains(o.Routes, route.ID) {
			differ("route %s is in module.yaml, but the binary has no handler for it", route.ID)
		}
	}
	for _, id := range o.Routes {
		if !slices.Contains(declared, id) {
			differ("the binary has a handler for route %s, which is not in module.yaml", id)
		}
	}
	m.compareSubscriptions(o.Subscriptions, differ)
	if n := len(o.Migrations); (n > 0) != (m.Migrations == MigrationsGo) {
		differ("module.yaml says `migrations: %s`, the binary has %d migrations", m.Migrations, n)
	}
	if len(differences) == 0 {
		return nil
	}
	return fmt.Errorf("the binary and module.yaml differ: %s (fix: make them agree, rebuild, restart)",
		strings.Join(differences, "; "))
}

// CompareServices says how the gRPC services that the running binary serves differ from services.provides; nil if they do not.
// Those of gRPC itself do not count.
func (m *Manifest) CompareServices(served []string) error {
	var differences []string
	for _, name := range m.Services.Provides {
		if !slices.Contains(served, name) {
			differences = append(differences, name+" is in module.yaml, but the binary does not serve it")
		}
	}
	for _, name := range served {
		if !slices.Contains(m.Services.Provides, name) && !OfGRPC(name) {
			differences = append(differences, fmt.Sprintf("the binary serves %.255s, which is not in module.yaml", name))
		}
	}
	if len(differences) == 0 {
		return nil
	}
	return fmt.Errorf("the services of the binary and services.provides of module.yaml differ: %s (fix: make them agree, rebuild, "+
		"restart)", strings.Join(differences, "; "))
}

// OfGRPC reports whether a service is one that any gRPC server may have, and that no manifest names.
func OfGRPC(service string) bool {
	return strings.HasPrefix(service, "grpc.reflection.") || strings.HasPrefix(service, "grpc.health.")
}

func (m *Manifest) compareSubscriptions(offered []string, differ func(format string, args ...any)) {
	declared := make([]string, 0, len(m.Events.Subscribes))
	for _, s := range m.Events.Subscribes {
		declared = append(declared, s.Type)
		if !slices.Contains(offered, s.Type) {
			differ("module.yaml subscribes to %s, but the binary has no handler for it", s.Type)
		}
	}
	for _, pattern := range offered {
		if !slices.Contains(declared, pattern) {
			differ("the binary has a handler for events %s, to which module.yaml does not subscribe", pattern)
		}
	}
}
