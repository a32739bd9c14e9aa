package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// The bounds of grants.cache.
const (
	minCache = Size(1 << 10)
	maxCache = Size(1 << 30)
)

// Grants is what the module may ask of the core.
type Grants struct {
	// Auth may hold "validate", Identity "read", Authz "check", Audit "write".
	Auth     []string `json:"auth,omitempty" jsonschema:"validate: whose a token is."`
	Identity []string `json:"identity,omitempty" jsonschema:"read: who the users are."`
	Authz    []string `json:"authz,omitempty" jsonschema:"check: what somebody may do."`
	Audit    []string `json:"audit,omitempty" jsonschema:"write: add to the audit log."`
	// Cache is how much the module may keep, between 1 KiB and 1 GiB; 0 is nothing.
	Cache    Size `json:"cache,omitempty" jsonschema:"How much the module may keep in the cache, such as 16MiB."`
	Database bool `json:"database,omitempty" jsonschema:"A database of its own."`
}

// grantable is what each list under grants may hold.
func (g *Grants) grantable() []grantList {
	return []grantList{
		{"auth", g.Auth, []string{"validate"}},
		{"identity", g.Identity, []string{"read"}},
		{"authz", g.Authz, []string{"check"}},
		{"audit", g.Audit, []string{"write"}},
	}
}

type grantList struct {
	key    string
	given  []string
	values []string
}

// Holds reports whether access is granted under a key of grants: Holds("identity", "read"). Access is "" for the keys that are no
// lists, cache and database. A key that there is not holds nothing.
func (g *Grants) Holds(key, access string) bool {
	switch {
	case key == "cache" && access == "":
		return g.Cache > 0
	case key == "database" && access == "":
		return g.Database
	}
	i := slices.IndexFunc(g.grantable(), func(l grantList) bool { return l.key == key })
	return i >= 0 && access != "" && slices.Contains(g.grantable()[i].given, access)
}

// Grantable reports whether some manifest could hold access under the key: what Holds can answer with yes.
func Grantable(key, access string) bool {
	return (&Grants{
		Auth: []string{"validate"}, Identity: []string{"read"}, Authz: []string{"check"}, Audit: []string{"write"},
		Cache: minCache, Database: true,
	}).Holds(key, access)
}

func (m *Manifest) checkGrants(errs *Errors) {
	for _, list := range m.Grants.grantable() {
		again := repeated(list.given)
		for i, value := range list.given {
			at := fmt.Sprintf("grants.%s[%d]", list.key, i)
			switch {
			case !slices.Contains(list.values, value):
				errs.add(at, "bad_grant", fmt.Sprintf("%+q is nothing that grants.%s can hold", value, list.key),
					"write "+list.key+": ["+strings.Join(list.values, ", ")+"]")
			case again[i]:
				errs.add(at, "duplicate_grant", value+" is named twice", "remove one of the two")
			}
		}
	}
	if c := m.Grants.Cache; c != 0 && (c < minCache || c > maxCache) {
		errs.add("grants.cache", "out_of_bounds", fmt.Sprintf("`grants.cache` %s is out of bounds", c),
			fmt.Sprintf("write a size between %s and %s", minCache, maxCache))
	}
}

func constrainGrants(grants *jsonschema.Schema) {
	for _, list := range new(Grants).grantable() {
		s := grants.Properties[list.key]
		s.Items.Enum = enum(list.values)
		s.UniqueItems = true
	}
}
