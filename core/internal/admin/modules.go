package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/nearest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// normal sends empty lists where there are none, so that a client need not tell null from [].
func normal(modules []Module) []Module {
	modules = slices.Clone(modules)
	for i := range modules {
		m := &modules[i]
		m.Instances = orEmpty(m.Instances)
		m.Permissions = orEmpty(m.Permissions)
		m.Routes = orEmpty(m.Routes)
		m.Provides, m.Consumes = orEmpty(m.Provides), orEmpty(m.Consumes)
		m.Requires = orEmptyMap(m.Requires)
		m.Optional = orEmptyMap(m.Optional)
	}
	return orEmpty(modules)
}

func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// unknownModule names what was probably meant.
func unknownModule(name string, modules []Module) error {
	names := make([]string, len(modules))
	for i, m := range modules {
		names[i] = m.Name
	}
	return UnknownModule(name, names, "platformd module ls")
}

// UnknownModule is the problem with the status 404 of a module that is not among names. It says which was probably meant, and
// which command lists them.
func UnknownModule(name string, names []string, list string) error {
	detail := fmt.Sprintf("there is no module %q", name)
	if near := nearest.Names(name, names); len(near) > 0 {
		detail += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return problem.New(http.StatusNotFound, "not_found", detail+"\nfix: list what there is: "+list)
}
