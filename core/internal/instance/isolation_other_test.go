//go:build !linux

package instance_test

import pluginapi "github.com/platformd/platformd/plugin-api"

func systemModules() map[string]func() pluginapi.Module { return nil }

func attempts() map[string]func(on string) (string, error) { return nil }

func ownCoreMain() {}
