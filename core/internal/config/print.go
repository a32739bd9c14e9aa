package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// YAML returns the whole effective configuration as a config.yaml. Secrets are replaced by xxxxx: passwords in URLs, and in
// a module's configuration whatever has the name of a secret.
func (c *Config) YAML() ([]byte, error) {
	root, err := encode(reflect.ValueOf(c).Elem())
	if err != nil {
		return nil, err
	}
	escape(root)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return out.Bytes(), nil
}

// MarshalJSON returns the keys and values of YAML as JSON, with the same secrets replaced.
func (c *Config) MarshalJSON() ([]byte, error) { return toJSON(reflect.ValueOf(c).Elem()) }

func toJSON(v reflect.Value) ([]byte, error) {
	root, err := encode(v)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := root.Decode(&plain); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return json.Marshal(plain)
}

// encode is the inverse of decode, without secrets.
func encode(v reflect.Value) (*yaml.Node, error) {
	switch {
	case isDuration(v.Type()):
		return scalarNode(formatDuration(time.Duration(v.Int())))
	case v.Type() == reflect.TypeFor[SecretURL]():
		return scalarNode(redactURL(v.String()))
	case v.Type() == reflect.TypeFor[Secret]():
		return scalarNode(Secret(v.String()).String())
	case v.Type() == reflect.TypeFor[map[string]any]():
		return scalarNode(redactAny(v.Interface(), false))
	}
	switch v.Kind() {
	case reflect.Pointer:
		return encode(v.Elem())
	case reflect.Struct:
		return encodeStruct(v)
	case reflect.Map:
		return encodeMap(v)
	case reflect.Slice:
		return encodeList(v)
	default:
		return scalarNode(v.Interface())
	}
}

func scalarNode(value any) (*yaml.Node, error) {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return n, nil
}

func encodeStruct(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if strings.HasSuffix(tag.Get("json"), ",omitempty") && v.Field(i).IsZero() {
			continue
		}
		if err := appendPair(n, jsonName(tag), v.Field(i)); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func encodeMap(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		if err := appendPair(n, key.String(), v.MapIndex(key)); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func encodeList(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		item, err := encode(v.Index(i))
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	return n, nil
}

func appendPair(n *yaml.Node, name string, v reflect.Value) error {
	key, err := scalarNode(name)
	if err != nil {
		return err
	}
	value, err := encode(v)
	if err != nil {
		return err
	}
	n.Content = append(n.Content, key, value)
	return nil
}

// escape doubles the $ of values that a config.yaml would otherwise expand.
func escape(n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for _, value := range pairs(n) {
			escape(value)
		}
	case yaml.ScalarNode:
		if n.ShortTag() == "!!str" {
			n.Value = literal(n.Value)
		}
	default:
		for _, child := range n.Content {
			escape(child)
		}
	}
}
