// Command billing is a module: plans, and who is subscribed to them.
package main

import pluginapi "github.com/platformd/platformd/plugin-api"

//go:generate go tool permgen

func main() { pluginapi.Serve(newBilling().module()) }
