package instance

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// UnwellError is what a module that answers says that it lacks.
type UnwellError struct{ Problem string }

// Error implements error.
func (e *UnwellError) Error() string { return e.Problem }

// Health asks the module whether it can work; an *UnwellError is its answer, any other error is that it gave none.
func (i *Instance) Health(ctx context.Context) error {
	answer, err := i.module.Health(ctx, &modulev1.HealthRequest{})
	if err != nil {
		return err
	}
	if answer.GetProblem() != "" {
		return &UnwellError{Problem: answer.GetProblem()}
	}
	return nil
}

// Watch returns when the module has ended its side of the connection, with the reason, or when ctx ends, with nil. A module
// that offers no watch, which only one without our SDK may be, has none to end.
func (i *Instance) Watch(ctx context.Context) error {
	stream, err := i.module.Watch(ctx, &modulev1.WatchRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) == codes.Unimplemented {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
