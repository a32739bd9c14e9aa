// Command billing is a module: plans, and who is subscribed to them.
package main

import pluginapi "github.com/platformd/platformd/plugin-api"

func main() { pluginapi.Serve(newBilling().module()) }
