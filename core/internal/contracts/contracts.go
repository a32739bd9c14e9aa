// Package contracts knows what gRPC services modules really serve, as their reflection says, and compares that with their
// manifests and with what other modules were built against.
//
// Floor 2. It must not decide what a difference means (supervisor, calls): it says what differs, and what to do about it. What
// it reads comes from modules, which are not trusted: everything is bounded.
package contracts

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The bounds of what a module may say about its services, or those it calls.
const (
	maxServices = 200
	maxMethods  = 2000
	maxFiles    = 1000
	maxBytes    = 4 << 20
	maxNesting  = 16 // of messages: each level repeats the names of those around it
)

// Method is what there is to know of a method, to pass a call on.
type Method struct {
	ClientStreams, ServerStreams bool
	// Idempotent says that a call may be made again when it is not known what became of it.
	Idempotent bool
	// ReadOnly says that a call changes nothing.
	ReadOnly bool
}

// Provided is what a module serves.
type Provided struct {
	services map[string]protoreflect.ServiceDescriptor
	methods  map[string]Method // by full name: /package.Service/Method
}

// Services returns the names of the services, sorted, without those that every gRPC server may have.
func (p *Provided) Services() []string {
	names := make([]string, 0, len(p.services))
	for name := range p.services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Method returns a method by its full name, such as /platformd.billing.v1.BillingService/GetPlan.
func (p *Provided) Method(name string) (Method, bool) {
	m, ok := p.methods[name]
	return m, ok
}

// FromSets returns what a module says, by descriptor sets (FileDescriptorSet, encoded), that it provides; services that they do
// not describe are left out.
func FromSets(services []string, sets [][]byte) (*Provided, error) {
	var files []*descriptorpb.FileDescriptorProto
	known := map[string]bool{}
	for _, encoded := range sets {
		set := &descriptorpb.FileDescriptorSet{}
		if err := proto.Unmarshal(encoded, set); err != nil {
			return nil, fmt.Errorf("a descriptor set cannot be read: %w", err)
		}
		for _, file := range set.GetFile() {
			if !known[file.GetName()] {
				known[file.GetName()] = true
				files = append(files, file)
			}
		}
	}
	linked, err := link(files)
	if err != nil {
		return nil, err
	}
	described := slices.DeleteFunc(slices.Clone(services), func(name string) bool {
		_, err := serviceIn(linked, name)
		return err != nil
	})
	return newProvided(described, linked)
}

func newProvided(names []string, files *protoregistry.Files) (*Provided, error) {
	p := &Provided{services: map[string]protoreflect.ServiceDescriptor{}, methods: map[string]Method{}}
	for _, name := range names {
		service, err := serviceIn(files, name)
		if err != nil {
			return nil, fmt.Errorf("service %.255q: %w", name, err)
		}
		p.services[name] = service
		if len(p.methods)+service.Methods().Len() > maxMethods {
			return nil, fmt.Errorf("its services have more than %d methods", maxMethods)
		}
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			p.methods[fmt.Sprintf("/%s/%s", name, method.Name())] = methodOf(method)
		}
	}
	return p, nil
}

func methodOf(m protoreflect.MethodDescriptor) Method {
	level := descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	if options, ok := m.Options().(*descriptorpb.MethodOptions); ok {
		level = options.GetIdempotencyLevel()
	}
	readOnly := level == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	return Method{
		ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer(),
		ReadOnly: readOnly, Idempotent: readOnly || level == descriptorpb.MethodOptions_IDEMPOTENT,
	}
}

func serviceIn(files *protoregistry.Files, name string) (protoreflect.ServiceDescriptor, error) {
	found, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, errors.New("its descriptors are missing")
	}
	service, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, errors.New("that name is of something else in its descriptors")
	}
	return service, nil
}

// link makes descriptors of what a module sent. It must not be trusted to be sound, nor to be small once it is linked.
func link(files []*descriptorpb.FileDescriptorProto) (linked *protoregistry.Files, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			linked, err = nil, fmt.Errorf("its descriptors make no sense: %v", cause)
		}
	}()
	if len(files) > maxFiles {
		return nil, fmt.Errorf("its descriptors are %d files, more than the %d that are read", len(files), maxFiles)
	}
	for _, file := range files {
		if nesting(file.GetMessageType()) > maxNesting {
			return nil, fmt.Errorf("messages in %.255q are nested more than %d deep", file.GetName(), maxNesting)
		}
	}
	linked, err = protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		return nil, fmt.Errorf("its descriptors make no sense: %.500w", err)
	}
	return linked, nil
}

// nesting stops counting beyond the bound.
func nesting(messages []*descriptorpb.DescriptorProto) int {
	depth := 0
	for level := messages; len(level) > 0 && depth <= maxNesting; depth++ {
		var next []*descriptorpb.DescriptorProto
		for _, message := range level {
			next = append(next, message.GetNestedType()...)
		}
		level = next
	}
	return depth
}

func decodeFile(encoded []byte) (*descriptorpb.FileDescriptorProto, error) {
	file := &descriptorpb.FileDescriptorProto{}
	if err := proto.Unmarshal(encoded, file); err != nil {
		return nil, fmt.Errorf("a file of its descriptors cannot be read: %w", err)
	}
	return file, nil
}
