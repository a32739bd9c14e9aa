// Command schema prints the JSON Schema of module.yaml. scripts/generate runs it.
package main

import (
	"fmt"
	"os"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func main() {
	schema, err := manifest.Schema()
	if err != nil {
		fmt.Fprintf(os.Stderr, "make the schema of module.yaml: %v; fix: see plugin-api/manifest\n", err)
		os.Exit(1)
	}
	fmt.Print(string(schema))
}
