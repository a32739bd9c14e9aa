package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"
)

const (
	envPrefix      = "PLATFORMD_"
	overridePrefix = envPrefix + "MODULES_OVERRIDES_"
	fileSuffix     = "_FILE"
)

// environment applies the variables. One that is set to nothing counts as not set.
func (l *loader) environment() {
	all := configLeaves(&l.config)
	for _, key := range all {
		l.apply(key)
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if strings.HasPrefix(name, overridePrefix) {
			l.override(name)
		} else {
			l.unknownVariable(name, all)
		}
	}
}

func (l *loader) apply(key leaf) {
	name, text, err := l.variable(key)
	if err == nil && text != "" {
		err = setVariables(&l.config, env.Options{Prefix: envPrefix, Environment: map[string]string{key.variable: text},
			FuncMap: parsers(name, key.path)})
	}
	if err != nil {
		l.errs = append(l.errs, located(err, name, key.path)...)
		return
	}
	if text != "" {
		l.origins.set(key.path, name)
	}
}

// isSecret reports whether the key is a secret, or has some in it.
func isSecret(key leaf) bool {
	t := key.value.Type()
	return t == reflect.TypeFor[SecretURL]() || t == reflect.TypeFor[[]OIDC]()
}

// variable returns the variable that sets the key, and its text. A secret may also be the content of a file.
func (l *loader) variable(key leaf) (name, text string, err error) {
	name, text = key.variable, l.env[key.variable]
	if file := l.env[name+fileSuffix]; isSecret(key) && file != "" {
		if text != "" {
			return name, "", &fault{fmt.Sprintf(": both %s and %s%s are set", name, name, fileSuffix),
				"unset one of them", "conflict"}
		}
		name += fileSuffix
		data, _, err := readRegular(file, maxSecret)
		if err != nil {
			return name, "", &fault{": read the secret: " + err.Error(),
				"name a readable file that holds the secret", "unreadable"}
		}
		text = strings.TrimRight(string(data), "\r\n")
	}
	if !utf8.ValidString(text) {
		return name, "", &fault{" is not UTF-8", "set it to UTF-8 text", "bad_encoding"}
	}
	return name, text, nil
}

// override applies PLATFORMD_MODULES_OVERRIDES_BLOG_ENABLED and the like. Names of modules have no upper case, so that the
// way back from the variable is plain.
func (l *loader) override(name string) {
	for _, key := range leaves(reflect.ValueOf(&Override{}).Elem(), "", "_") {
		upper, found := strings.CutSuffix(name[len(overridePrefix)-1:], key.variable)
		if !found || len(upper) < 2 || l.env[name] == "" {
			continue
		}
		module := strings.ToLower(upper[1:])
		path := "modules.overrides[" + module + "]." + key.path
		o := l.config.Modules.Overrides[module]
		err := setVariables(&o, env.Options{Prefix: overridePrefix[:len(overridePrefix)-1] + upper + "_",
			Environment: map[string]string{name: l.env[name]}, FuncMap: parsers(name, path)})
		if err != nil {
			l.errs = append(l.errs, located(err, name, dotted(path))...)
			return
		}
		l.config.setOverride(module, o)
		l.origins.set(path, name)
		return
	}
	if l.env[name] != "" {
		l.refuse(name, "no key of a module's override has this name",
			"use "+overridePrefix+"NAME_ENABLED, NAME_CONFIG, NAME_RESTART_MAX, NAME_RESTART_WINDOW or NAME_LIMITS_MEMORY (CPU,"+
				" PIDS, OPENFILES)")
	}
}

// unknownVariable complains about a slip of the pen. A name that is like none of ours is somebody else's: Kubernetes, for
// one, sets PLATFORMD_PORT and more for a service that is called platformd.
func (l *loader) unknownVariable(name string, all []leaf) {
	if !strings.HasPrefix(name, envPrefix) || l.env[name] == "" {
		return
	}
	names := make([]string, 0, 2*len(all))
	for _, key := range all {
		names = append(names, key.variable)
		if isSecret(key) {
			names = append(names, key.variable+fileSuffix)
		}
	}
	plain, isFile := strings.CutSuffix(name, fileSuffix)
	switch near := closest(plainKey(name), names, 3); {
	case slices.Contains(names, name):
	case isFile && slices.Contains(names, plain):
		l.refuse(name, "this key is not a secret and has no "+fileSuffix+" variable", "set "+plain)
	case near != "":
		l.refuse(name, "no key belongs to this environment variable; did you mean "+near+"?", "rename it to "+near+", or unset it")
	}
}

func (l *loader) refuse(variable, message, fix string) {
	l.errs = append(l.errs, &Error{Source: variable, Message: message, Fix: fix, Code: "unknown_variable"})
}

// setVariables hands the one variable in the options to the library, and unpacks what it says.
func setVariables(into any, options env.Options) error {
	err := env.ParseWithOptions(into, options)
	var parse env.ParseError
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

// parsers are for the types that the library would read more leniently than the file is read, or not at all. name and path
// are of the variable and the key that are being set.
func parsers(name, path string) map[reflect.Type]env.ParserFunc {
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[time.Duration]():       parser(parseDuration),
		reflect.TypeFor[int]():                 parser(parseInt),
		reflect.TypeFor[float64]():             parser(parseFloat),
		reflect.TypeFor[bool]():                parser(parseBool),
		reflect.TypeFor[[]string]():            func(text string) (any, error) { return parseList(text), nil },
		reflect.TypeFor[map[string]any]():      yamlParser[map[string]any](name, path),
		reflect.TypeFor[[]OIDC]():              yamlParser[[]OIDC](name, path),
		reflect.TypeFor[map[string]Override](): yamlParser[map[string]Override](name, path),
	}
}

func parser[T any](parse func(string) (T, *fault)) env.ParserFunc {
	return func(text string) (any, error) {
		value, bad := parse(text)
		if bad != nil {
			return nil, bad
		}
		return value, nil
	}
}

// yamlParser reads YAML, and so JSON too, as strictly as the file is read.
func yamlParser[T any](name, path string) env.ParserFunc {
	return func(text string) (any, error) {
		var value T
		d := decoder{source: func(int) string { return name }, origins: origins{}}
		root, bad := tree([]byte(text), d.source)
		if bad != nil {
			return nil, Errors{bad}
		}
		if root != nil {
			d.inspect(root)
		}
		if root != nil && len(d.errs) == 0 {
			d.decode(path, root, reflect.ValueOf(&value).Elem())
		}
		return value, d.errs.asError()
	}
}
