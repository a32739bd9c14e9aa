package contracts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// Needed is what a module calls in others, as it was built against them.
type Needed struct {
	manifest *manifest.Manifest
	services map[string]protoreflect.ServiceDescriptor
}

// Needs reads what a module answers to Describe (DescribeResponse.consumed). A service that it does not describe is not compared.
func Needs(m *manifest.Manifest, consumed []byte) (*Needed, error) {
	n := &Needed{manifest: m, services: map[string]protoreflect.ServiceDescriptor{}}
	if len(consumed) > maxBytes {
		return nil, needless(m, fmt.Errorf("its descriptors are larger than %d MiB", maxBytes>>20))
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(consumed, set); err != nil {
		return nil, needless(m, err)
	}
	linked, err := link(set.GetFile())
	if err != nil {
		return nil, needless(m, err)
	}
	methods := 0
	for _, name := range m.Services.Consumed() {
		service, err := serviceIn(linked, name)
		if err != nil {
			continue
		}
		n.services[name] = service
		if methods += service.Methods().Len(); methods > maxMethods {
			return nil, needless(m, fmt.Errorf("its services have more than %d methods", maxMethods))
		}
	}
	return n, nil
}

func needless(m *manifest.Manifest, err error) error {
	return fmt.Errorf("read what %s calls in other modules: %w (fix: rebuild it with the SDK, or answer no `consumed` to Describe)",
		m.Name, err)
}

// against compares what the module calls with what another one serves.
func (n *Needed) against(provider string, p *Provided) []Mismatch {
	c := &comparison{consumer: n.manifest.Name, provider: provider}
	for _, name := range slices.Sorted(maps.Keys(n.services)) {
		theirs := p.services[name]
		if theirs == nil {
			continue // another module's, or nobody's: the catalog has said so
		}
		methods := n.services[name].Methods()
		for i := range methods.Len() {
			if method := methods.Get(i); n.manifest.Services.MayCall(name, string(method.Name())) {
				c.compare(method, theirs)
			}
		}
	}
	return c.found
}

// IncompatibleError says that a module cannot call another one as it was built to.
type IncompatibleError struct {
	Consumer, Provider string
	Mismatches         []Mismatch
}

// Error names the methods and fields.
func (e *IncompatibleError) Error() string {
	const told = 20
	var lines []string
	for _, m := range e.Mismatches[:min(told, len(e.Mismatches))] {
		lines = append(lines, strings.TrimPrefix(m.Method, "/")+": "+m.What)
	}
	if more := len(e.Mismatches) - told; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s was built to call another %s than the one that is installed: %s (fix: build %[1]s against the .proto of "+
		"that %[2]s, or install a %[2]s that fits)", e.Consumer, e.Provider, strings.Join(lines, "; "))
}

// Book keeps what the running modules serve and call. It is safe for concurrent use.
type Book struct {
	mu       sync.RWMutex // guards the rest
	provided map[string]*Provided
	needed   map[string]*Needed
	refused  map[[2]string]*IncompatibleError // by consumer and provider
}

// NewBook returns an empty one.
func NewBook() *Book {
	return &Book{
		provided: map[string]*Provided{}, needed: map[string]*Needed{}, refused: map[[2]string]*IncompatibleError{},
	}
}

// Provide files what a module serves from now on, and returns the modules that cannot call it as they were built to.
func (b *Book) Provide(module string, p *Provided) (unfit []*IncompatibleError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.provided[module] = p
	for _, consumer := range slices.Sorted(maps.Keys(b.needed)) {
		unfit = b.file(unfit, consumer, module)
	}
	return unfit
}

// TryProvide returns what Provide would, and files nothing.
func (b *Book) TryProvide(module string, p *Provided) (unfit []*IncompatibleError) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, consumer := range slices.Sorted(maps.Keys(b.needed)) {
		if err := compare(b.needed[consumer], module, p); err != nil {
			unfit = append(unfit, err)
		}
	}
	return unfit
}

// Need files what a module calls from now on, and returns the modules that it cannot call as it was built to. Of those that have
// not been running yet nothing is known: Provide will tell.
func (b *Book) Need(n *Needed) (unfit []*IncompatibleError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.needed[n.manifest.Name] = n
	for _, provider := range slices.Sorted(maps.Keys(b.provided)) {
		unfit = b.file(unfit, n.manifest.Name, provider)
	}
	return unfit
}

// TryNeed returns what Need would, and files nothing.
func (b *Book) TryNeed(n *Needed) (unfit []*IncompatibleError) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, provider := range slices.Sorted(maps.Keys(b.provided)) {
		if err := compare(n, provider, b.provided[provider]); err != nil {
			unfit = append(unfit, err)
		}
	}
	return unfit
}

// Forget drops what a module served and called: it does not run any more.
func (b *Book) Forget(module string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.provided, module)
	delete(b.needed, module)
	maps.DeleteFunc(b.refused, func(between [2]string, _ *IncompatibleError) bool { return slices.Contains(between[:], module) })
}

// file compares two modules of which the book has both, and keeps the result.
func (b *Book) file(unfit []*IncompatibleError, consumer, provider string) []*IncompatibleError {
	between := [2]string{consumer, provider}
	err := compare(b.needed[consumer], provider, b.provided[provider])
	if err == nil {
		delete(b.refused, between)
		return unfit
	}
	b.refused[between] = err
	return append(unfit, err)
}

func compare(n *Needed, provider string, p *Provided) *IncompatibleError {
	if !n.manifest.DependsOn(provider) {
		return nil
	}
	found := n.against(provider, p)
	if len(found) == 0 {
		return nil
	}
	return &IncompatibleError{Consumer: n.manifest.Name, Provider: provider, Mismatches: found}
}

// Requires tells whether the consumer cannot do without the provider.
func (b *Book) Requires(e *IncompatibleError) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n := b.needed[e.Consumer]
	if n == nil {
		return false
	}
	_, required := n.manifest.Requires.Modules[e.Provider]
	return required
}

// Fits returns an *IncompatibleError if the consumer was built for another form of the provider's method.
func (b *Book) Fits(consumer, provider, method string) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	whole := b.refused[[2]string{consumer, provider}]
	if whole == nil {
		return nil
	}
	of := func(m Mismatch) bool { return m.Method == method }
	if !slices.ContainsFunc(whole.Mismatches, of) {
		return nil
	}
	only := *whole
	only.Mismatches = slices.DeleteFunc(slices.Clone(whole.Mismatches), func(m Mismatch) bool { return !of(m) })
	return &only
}

// Method returns a method that the module served when it last started.
func (b *Book) Method(module, name string) (Method, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p := b.provided[module]
	if p == nil {
		return Method{}, false
	}
	return p.Method(name)
}
