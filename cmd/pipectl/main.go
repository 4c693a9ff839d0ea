// Pipectl runs data pipelines declared in one YAML file. See `pipectl help`.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	_ "github.com/pipectl/pipectl/sinks"   // registers the sink types
	_ "github.com/pipectl/pipectl/sources" // registers the source types
	_ "github.com/pipectl/pipectl/stages"  // registers the stage types
)

func main() {
	os.Exit(execute(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a command reads and writes. Out belongs to the data and to
// what was asked for; everything else goes to Err.
type streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// execute runs one command line and returns its exit code. It is the only place
// that prints errors.
func execute(args []string, std streams) int {
	root := newRootCommand(std)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(std.Err, "pipectl: "+strings.ReplaceAll(msg, "\n", "\npipectl: "))
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return 1
}
