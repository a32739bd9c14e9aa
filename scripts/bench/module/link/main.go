// Command link is the bench module as an author would write it: the SDK offers whatever is fastest.
package main

import (
	pluginapi "github.com/platformd/platformd/plugin-api"

	"github.com/platformd/platformd/scripts/bench/module"
)

func main() { pluginapi.Serve(module.New()) }
