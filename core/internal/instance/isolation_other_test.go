//go:build !linux

package instance_test

import pluginapi "github.com/platformd/platformd/plugin-api"

func systemModules() map[string]func() pluginapi.Module { return nil }

func systemActs() map[string]func([]string) error { return nil }
