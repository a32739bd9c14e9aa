// Command http1 is the bench module whose Describe offers no link, so that the core speaks HTTP/1.1 with it, as it does with
// modules in other languages.
package main

import (
	"github.com/platformd/platformd/plugin-api/plugintest"

	"github.com/platformd/platformd/scripts/bench/module"
)

func main() { plugintest.ServeHTTP1(module.New()) }
