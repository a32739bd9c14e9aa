package contracts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// readTimeout bounds Read, whatever its context allows.
const readTimeout = 10 * time.Second

// Read asks a module what it serves, by gRPC's reflection (grpc.reflection.v1). Services of gRPC itself do not count.
func Read(ctx context.Context, conn grpc.ClientConnInterface) (*Provided, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel() // ends the stream too
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, unread(err)
	}
	r := &reader{stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	names, err := r.services()
	if err != nil {
		return nil, unread(err)
	}
	for _, name := range names {
		if err := r.fetch(&reflectionv1.ServerReflectionRequest{
			MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name},
		}); err != nil {
			return nil, unread(fmt.Errorf("service %.255q: %w", name, err))
		}
	}
	if err := r.fetchImports(); err != nil {
		return nil, unread(err)
	}
	linked, err := link(r.all())
	if err != nil {
		return nil, unread(err)
	}
	provided, err := newProvided(names, linked)
	if err != nil {
		return nil, unread(err)
	}
	return provided, nil
}

func unread(err error) error {
	return fmt.Errorf("read what the module serves: %w (fix: serve grpc.reflection.v1 with the descriptors of every service; the "+
		"SDK does)", err)
}

// reader asks on one stream: servers send a file once on each.
type reader struct {
	stream grpc.BidiStreamingClient[reflectionv1.ServerReflectionRequest, reflectionv1.ServerReflectionResponse]
	files  map[string]*descriptorpb.FileDescriptorProto
	bytes  int
}

func (r *reader) ask(req *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
	if err := r.stream.Send(req); err != nil {
		_, err = r.stream.Recv() // Send says only that the stream has ended
		return nil, err
	}
	answer, err := r.stream.Recv()
	if err != nil {
		return nil, err
	}
	if refused := answer.GetErrorResponse(); refused != nil {
		return nil, fmt.Errorf("it answers %.500q", refused.GetErrorMessage())
	}
	return answer, nil
}

func (r *reader) services() ([]string, error) {
	answer, err := r.ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		if name := service.GetName(); !manifest.OfGRPC(name) {
			names = append(names, name)
		}
	}
	if len(names) > maxServices {
		return nil, fmt.Errorf("it serves %d services, more than %d", len(names), maxServices)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (r *reader) fetch(req *reflectionv1.ServerReflectionRequest) error {
	answer, err := r.ask(req)
	if err != nil {
		return err
	}
	for _, encoded := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		if r.bytes += len(encoded); r.bytes > maxBytes {
			return fmt.Errorf("its descriptors are larger than %d MiB", maxBytes>>20)
		}
		file, err := decodeFile(encoded)
		if err != nil {
			return err
		}
		r.files[file.GetName()] = file
	}
	if len(r.files) > maxFiles {
		return fmt.Errorf("its descriptors are more than %d files", maxFiles)
	}
	return nil
}

// fetchImports asks for what the files import and did not come with them: not every server sends it of its own accord.
func (r *reader) fetchImports() error {
	for missing := r.missing(); len(missing) > 0; missing = r.missing() {
		for _, name := range missing {
			err := r.fetch(&reflectionv1.ServerReflectionRequest{
				MessageRequest: &reflectionv1.ServerReflectionRequest_FileByFilename{FileByFilename: name},
			})
			if r.files[name] == nil && err == nil {
				err = errors.New("it sends another")
			}
			if err != nil && !r.takeKnown(name) {
				return fmt.Errorf("file %.255q: %w", name, err)
			}
		}
	}
	return nil
}

func (r *reader) missing() (names []string) {
	for _, file := range r.files {
		for _, name := range file.GetDependency() {
			if r.files[name] == nil && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// takeKnown takes a file of protobuf's own, which many servers leave out.
func (r *reader) takeKnown(name string) bool {
	if !strings.HasPrefix(name, "google/protobuf/") {
		return false
	}
	file, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err != nil {
		return false
	}
	r.files[name] = protodesc.ToFileDescriptorProto(file)
	return true
}

func (r *reader) all() (files []*descriptorpb.FileDescriptorProto) {
	for _, file := range r.files {
		files = append(files, file)
	}
	return files
}
