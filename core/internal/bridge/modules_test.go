package bridge

import (
	pluginapi "github.com/platformd/platformd/plugin-api"
)

func modules() map[string]func() pluginapi.Module { return nil }
