package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

const (
	servicePattern  = `^[a-zA-Z_][a-zA-Z0-9_]*(\.[a-zA-Z_][a-zA-Z0-9_]*)+$`
	consumedPattern = `^[a-zA-Z_][a-zA-Z0-9_]*(\.[a-zA-Z_][a-zA-Z0-9_]*)+(/[a-zA-Z_][a-zA-Z0-9_]*)?$`

	maxServiceName = 255
	maxServices    = 100
)

var (
	serviceRule  = regexp.MustCompile(servicePattern)
	consumedRule = regexp.MustCompile(consumedPattern)
)

// Services are gRPC services, by their full names: platformd.billing.v1.BillingService.
type Services struct {
	// Provides is what the module's binary serves, no more and no less.
	Provides []string `json:"provides,omitempty" jsonschema:"gRPC services that the module serves, by full name."`
	// Consumes is what the module may call: whole services, or single methods as SERVICE/METHOD, of modules that it requires.
	Consumes []string `json:"consumes,omitempty" jsonschema:"gRPC services, or SERVICE/METHOD, that the module calls."`
}

// Consumed returns the names of the services that the module calls at least one method of, sorted.
func (s *Services) Consumed() []string {
	names := map[string]bool{}
	for _, one := range s.Consumes {
		service, _, _ := strings.Cut(one, "/")
		names[service] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// MayCall reports whether the module may call a method of a service.
func (s *Services) MayCall(service, method string) bool {
	return slices.ContainsFunc(s.Consumes, func(one string) bool {
		named, only, single := strings.Cut(one, "/")
		return named == service && (!single || only == method)
	})
}

// DependsOn reports whether the module requires the one of that name, or uses it optionally.
func (m *Manifest) DependsOn(name string) bool {
	_, required := m.Requires.Modules[name]
	_, optional := m.Requires.Optional[name]
	return required || optional
}

func (m *Manifest) checkServices(errs *Errors) {
	m.checkProvided(errs)
	m.checkConsumed(errs)
}

func (m *Manifest) checkProvided(errs *Errors) {
	again := repeated(m.Services.Provides)
	checkCount(errs, "services.provides", len(m.Services.Provides))
	for i, name := range m.Services.Provides {
		at := fmt.Sprintf("services.provides[%d]", i)
		switch {
		case !serviceRule.MatchString(name) || len(name) > maxServiceName:
			errs.add(at, "bad_service", fmt.Sprintf("%+.99q is not the full name of a gRPC service", name),
				"write PACKAGE.SERVICE as in the .proto, for example platformd.billing.v1.BillingService")
		case reservedService(name):
			errs.add(at, "reserved_service", name+" belongs to gRPC or to the platform", "give the service a package of its own")
		case again[i]:
			errs.add(at, "duplicate_service", name+" is named twice", "remove one of the two")
		}
	}
}

func (m *Manifest) checkConsumed(errs *Errors) {
	again := repeated(m.Services.Consumes)
	checkCount(errs, "services.consumes", len(m.Services.Consumes))
	for i, name := range m.Services.Consumes {
		at := fmt.Sprintf("services.consumes[%d]", i)
		service, _, single := strings.Cut(name, "/")
		switch {
		case !consumedRule.MatchString(name) || len(name) > maxServiceName:
			errs.add(at, "bad_service", fmt.Sprintf("%+.99q is not a gRPC service or one of its methods", name),
				"write PACKAGE.SERVICE or PACKAGE.SERVICE/METHOD, for example platformd.billing.v1.BillingService/GetPlan")
		case reservedService(service):
			errs.add(at, "reserved_service", service+" belongs to gRPC or to the platform",
				"name a service of another module; what the core offers is under grants")
		case slices.Contains(m.Services.Provides, service):
			errs.add(at, "own_service", service+" is the module's own", "call it in the code; consumes is for other modules' services")
		case again[i], single && slices.Contains(m.Services.Consumes, service):
			errs.add(at, "duplicate_service", name+" is named twice", "name either the whole service or its methods, each once")
		}
	}
	if len(m.Services.Consumes) > 0 && len(m.Requires.Modules)+len(m.Requires.Optional) == 0 {
		errs.add("services.consumes", "consumes_of_nobody", "the module calls services, but requires no module that could provide them",
			"name the module under requires.modules or requires.optional")
	}
}

func checkCount(errs *Errors, field string, n int) {
	if n > maxServices {
		errs.add(field, "out_of_bounds", fmt.Sprintf("`%s` names %d services", field, n),
			fmt.Sprintf("name at most %d; a module may be split", maxServices))
	}
}

// reservedService keeps names that mean something to gRPC itself, such as reflection, or to the protocol with the core.
func reservedService(name string) bool {
	return strings.HasPrefix(name, "grpc.") || strings.HasPrefix(name, "platform.")
}

func constrainServices(services *jsonschema.Schema) {
	for key, pattern := range map[string]string{"provides": servicePattern, "consumes": consumedPattern} {
		s := services.Properties[key]
		s.Items.Pattern = pattern
		s.Items.MaxLength = jsonschema.Ptr(maxServiceName)
		s.UniqueItems = true
		s.MaxItems = jsonschema.Ptr(maxServices)
	}
}
