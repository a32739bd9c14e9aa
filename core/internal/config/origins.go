package config

import (
	"reflect"
	"strings"
)

// origins tells where the value of a key came from: by path, "config.yaml:12" or the name of a variable. A path has the
// shape that the validator prints: "server.cors.origins[1]", "modules.overrides[blog].restart.max".
type origins map[string]string

// set notes that the key and all below it now come from source.
func (o origins) set(path, source string) {
	for known := range o {
		if within(known, path) {
			delete(o, known)
		}
	}
	o[path] = source
}

// find returns the source of the key, or of the nearest key above it.
func (o origins) find(path string) string {
	for path != "" {
		if source, found := o[path]; found {
			return source
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return ""
}

// within reports whether path is the key itself or lies below it.
func within(path, key string) bool {
	rest, found := strings.CutPrefix(path, key)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// leaf is one key of the configuration that has a value of its own.
type leaf struct {
	path     string // as in config.yaml
	variable string // of the environment
	value    reflect.Value
}

// leaves walks over a struct by its tags. Its result is in the order of the fields.
func leaves(v reflect.Value, path, prefix string) []leaf {
	var all []leaf
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		key := join(path, jsonName(tag))
		if section, found := tag.Lookup("envPrefix"); found {
			all = append(all, leaves(v.Field(i), key, prefix+section)...)
			continue
		}
		all = append(all, leaf{path: key, variable: prefix + tag.Get("env"), value: v.Field(i)})
	}
	return all
}

func configLeaves(c *Config) []leaf { return leaves(reflect.ValueOf(c).Elem(), "", envPrefix) }

func jsonName(tag reflect.StructTag) string {
	name, _, _ := strings.Cut(tag.Get("json"), ",")
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// applyFlags lets the caller's flags change c, and forgets where the values that they changed had come from.
func (o origins) applyFlags(c *Config, flags func(*Config)) {
	if flags == nil {
		return
	}
	before := *c
	flags(c)
	was := configLeaves(&before)
	for i, now := range configLeaves(c) {
		if !reflect.DeepEqual(was[i].value.Interface(), now.value.Interface()) {
			o.set(now.path, "")
		}
	}
}
