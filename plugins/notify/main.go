// Command notify is a module: it keeps a feed of the events of other modules.
package main

import pluginapi "github.com/platformd/platformd/plugin-api"

//go:generate go tool permgen

func main() { pluginapi.Serve(newNotify().module()) }
