package admin

import (
	"errors"
	"net/http"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/plugin-api/problem"
)

// verdict is how the client is told of an error of a room.
type verdict struct {
	status int
	code   string
	errs   []error
}

func verdicts() []verdict {
	return []verdict{
		{http.StatusNotFound, "not_found", []error{identity.ErrNotFound, auth.ErrNoUser, auth.ErrNotFound, auth.ErrNoSession}},
		{http.StatusConflict, "already_exists", []error{identity.ErrEmailTaken}},
		{http.StatusConflict, "failed_precondition", []error{
			identity.ErrDisabled, identity.ErrSetupDone, authz.ErrLastAdmin, authz.ErrBuiltIn,
		}},
		{http.StatusServiceUnavailable, "unavailable", []error{authz.ErrStale}},
	}
}

// explained turns the error of a room into the client's, where the client can do something about it.
func explained(err error) error {
	var p *problem.Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	for _, v := range verdicts() {
		for _, known := range v.errs {
			if errors.Is(err, known) {
				return problem.New(v.status, v.code, err.Error())
			}
		}
	}
	var (
		missing *authz.NotFoundError
		there   *authz.ExistsError
		notHeld *authz.NotHeldError
		pattern *authz.PatternError
		unknown *authz.UnknownError
	)
	switch {
	case errors.As(err, &missing):
		return problem.New(http.StatusNotFound, "not_found", err.Error())
	case errors.As(err, &there):
		return problem.New(http.StatusConflict, "already_exists", err.Error())
	case errors.As(err, &notHeld):
		return problem.New(http.StatusConflict, "failed_precondition", err.Error())
	case errors.As(err, &pattern), errors.As(err, &unknown):
		return badRequest(err)
	}
	return err
}
