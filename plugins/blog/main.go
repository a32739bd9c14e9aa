// Command blog is a module: posts with comments, and a live feed of new posts. It is written to be copied.
package main

import pluginapi "github.com/platformd/platformd/plugin-api"

//go:generate go tool permgen

func main() { pluginapi.Serve(newBlog().module()) }
