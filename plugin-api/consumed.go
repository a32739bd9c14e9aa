package pluginapi

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// consumed describes services as this binary was built against them: a google.protobuf.FileDescriptorSet of the files that
// declare them, and all that these import. What the binary does not know is left out.
func consumed(services []string) ([]byte, error) {
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	for _, name := range services {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err == nil {
			collect(found.ParentFile(), set, seen)
		}
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the descriptors of the services that the module calls: %w", err)
	}
	return encoded, nil
}

func collect(file protoreflect.FileDescriptor, set *descriptorpb.FileDescriptorSet, seen map[string]bool) {
	if file.IsPlaceholder() || seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		collect(file.Imports().Get(i).FileDescriptor, set, seen)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
