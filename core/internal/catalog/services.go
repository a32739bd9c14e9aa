package catalog

import (
	"fmt"
	"maps"
	"slices"
)

// unprovided holds a node whose services nobody provides that it requires. Two modules may provide the same service: a call names
// the module.
func (p *planner) unprovided(n *node) (reasons []error) {
	if len(p.absent(n)) > 0 {
		return nil // one of those may have been meant: see warnOfServices
	}
	for _, service := range p.missingServices(n) {
		reasons = append(reasons, &Error{Code: "service_missing",
			Message: fmt.Sprintf("%s calls %s, which no module that it requires provides", n.name, service),
			Fix: fmt.Sprintf("install a version that provides it, or name the module that does under requires in the module.yaml of %s",
				n.name)})
	}
	return reasons
}

// warnOfServices: a module that starts without an optional one cannot call it.
func (p *planner) warnOfServices(n *node) {
	absent := p.absent(n)
	if len(absent) == 0 {
		return
	}
	for _, service := range p.missingServices(n) {
		p.warn(n.name, &Error{Code: "service_missing",
			Message: fmt.Sprintf("%s calls %s, which no installed module that it requires provides; those calls will fail",
				n.name, service),
			Fix: fmt.Sprintf("install %s, if that provides it", absent[0])})
	}
}

// absent are the optional dependencies that are not there, sorted.
func (p *planner) absent(n *node) []string {
	there := func(name string) bool { return p.nodes[name] != nil }
	return slices.DeleteFunc(slices.Sorted(maps.Keys(n.optional)), there)
}

func (p *planner) missingServices(n *node) []string {
	return slices.DeleteFunc(slices.Clone(n.consumes), func(service string) bool {
		for _, dependencies := range []map[string]string{n.requires, n.optional} {
			for name := range dependencies {
				if other := p.nodes[name]; other != nil && slices.Contains(other.provides, service) {
					return true
				}
			}
		}
		return false
	})
}
