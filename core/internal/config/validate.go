package config

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"
)

// Validate checks every value. The error is an Errors. It opens the files of server.tls.
func (c *Config) Validate() error { return check(c, origins{}) }

// check is Validate with the knowledge of where each value came from.
func check(c *Config, from origins) error {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return jsonName(f.Tag) })
	custom := rules()
	for tag, rule := range custom {
		ok := func(fl validator.FieldLevel) bool { return rule(fl.Field().String()) == nil }
		if err := v.RegisterValidation(tag, ok); err != nil {
			return fmt.Errorf("register the rule %s: %w", tag, err)
		}
	}
	err := v.Struct(c)
	var fields validator.ValidationErrors
	if err != nil && !errors.As(err, &fields) {
		return fmt.Errorf("validate the configuration: %w", err)
	}
	var errs Errors
	for _, field := range fields {
		_, path, _ := strings.Cut(field.Namespace(), ".")
		errs = append(errs, explain(field, custom).at(from.find(path), dotted(path)))
	}
	errs = append(errs, checkProviders(c.Auth.OIDC, from)...)
	if len(errs) == 0 {
		errs = checkPair(c.Server.TLS, from)
	}
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Key, b.Key) })
	return errs.asError()
}

// checkPair checks that the certificate and the key belong together.
func checkPair(t TLS, from origins) Errors {
	if t.Cert == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		bad := &fault{": " + err.Error(), "name a PEM certificate and the private key that belongs to it", "bad_tls"}
		return Errors{bad.at(from.find("server.tls.cert"), "server.tls")}
	}
	return nil
}

// explain says what a broken rule means.
func explain(field validator.FieldError, custom map[string]func(string) *fault) *fault {
	value := fmt.Sprint(field.Value())
	if d, is := field.Value().(time.Duration); is {
		value = formatDuration(d)
	}
	switch field.Tag() {
	case "required":
		return &fault{" must not be empty", "give it a value, or remove it", "no_value"}
	case "required_with":
		return &fault{" must be set too: the certificate and the key belong together",
			"set both server.tls.cert and server.tls.key, or neither", "conflict"}
	case "gt":
		return &fault{" must be greater than zero, not " + value,
			"write for example 5s, or remove it", "out_of_range"}
	case "min":
		return &fault{fmt.Sprintf(" must be at least %s, not %s", field.Param(), value),
			"write " + field.Param() + " or more, or remove it", "out_of_range"}
	case "max":
		return &fault{fmt.Sprintf(" must be at most %s, not %s", field.Param(), value),
			"write " + field.Param() + " or less, or remove it", "out_of_range"}
	case "ltefield":
		return &fault{fmt.Sprintf(" must not be longer than auth.refreshTTL, and is %s", value),
			"make it shorter, or auth.refreshTTL longer", "conflict"}
	case "oneof":
		return &fault{": " + display(value) + " is not one of " + strings.ReplaceAll(field.Param(), " ", ", "),
			"write one of them", "bad_value"}
	case "ip|cidr":
		return &fault{": " + display(value) + " is neither an IP address nor a CIDR range",
			"write for example 10.0.0.1 or 10.0.0.0/8", "bad_value"}
	default:
		return custom[field.Tag()](reflect.ValueOf(field.Value()).String()) // not value, which hides secrets
	}
}
