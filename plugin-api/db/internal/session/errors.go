package session

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"
)

// failure is an error of a query under a name that callers can test for. A module that returns it from a handler answers what
// the name means: the SDK looks for GRPCStatus.
type failure struct {
	error
	public *status.Status
}

// Unwrap serves errors.Is and errors.As.
func (f *failure) Unwrap() error { return f.error }

// GRPCStatus is what clients may see: no SQL, no values, no names of constraints.
func (f *failure) GRPCStatus() *status.Status { return f.public }

// Condition is what went wrong, to those who cannot see the database.
type Condition struct {
	Name   error // what errors.Is finds
	Code   codes.Code
	Public string
}

// conditions are those that GORM has names for.
var conditions = []Condition{
	{gorm.ErrRecordNotFound, codes.NotFound, "there is no such thing"},
	{gorm.ErrDuplicatedKey, codes.AlreadyExists, "such a thing exists already"},
	{gorm.ErrForeignKeyViolated, codes.FailedPrecondition, "something it refers to does not exist, or something refers to it"},
	{gorm.ErrCheckConstraintViolated, codes.InvalidArgument, "a value is not allowed"},
}

// Name returns err under the name, unless it has it already, and with what the name means to a client. A nil name, for errors
// that the driver does not know, leaves err as it is, unless GORM has named it.
func Name(err, name error, own ...Condition) error {
	if name != nil && !errors.Is(err, name) {
		err = fmt.Errorf("%w: %w", name, err)
	}
	var named *failure
	if err == nil || errors.As(err, &named) {
		return err
	}
	for _, known := range append(own, conditions...) {
		if errors.Is(err, known.Name) {
			return &failure{error: err, public: status.New(known.Code, known.Public)}
		}
	}
	return err
}
