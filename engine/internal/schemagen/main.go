// Schemagen writes the JSON Schema of pipeline files. What it says comes from
// the components' structs, as engine/config reads them, and their doc comments.
//
// The schema never refuses what pipectl accepts, but for a few values that are
// accepted without a meaning, such as version: 0. It cannot know all that
// pipectl refuses: expressions, the graph, and options that exclude each other.
package main

import (
	"flag"
	"fmt"
	"os"

	_ "github.com/pipectl/pipectl/sinks"   // registers the sink types
	_ "github.com/pipectl/pipectl/sources" // registers the source types
	_ "github.com/pipectl/pipectl/stages"  // registers the stage types
)

func main() {
	root := flag.String("root", ".", "the `DIR` of the module's source")
	out := flag.String("o", "pipeline.schema.json", "the `FILE` to write")
	flag.Parse()
	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(root, out string) error {
	data, err := generate(root)
	if err != nil {
		return err
	}
	return os.WriteFile(out, data, 0o644)
}
