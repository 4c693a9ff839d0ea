package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/schema"
	"github.com/spf13/cobra"
)

// templates are whole pipelines to begin with.
//
//go:embed templates/*.yaml
var templates embed.FS

// schemaFile is the name of the schema that the templates name in their first line.
const schemaFile = "pipeline.schema.json"

const initLong = `Write a pipeline to begin with, and beside it the schema with which editors complete
keys and mark mistakes. A file that is there is not replaced without --force.

Templates:
`

type initOptions struct {
	template string
	output   string
	force    bool
}

func newInitCommand(std streams) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [TEMPLATE]",
		Short: "Write a pipeline to begin with",
		Long:  initLong + templateList(),
		Example: `  pipectl init logs
  pipectl init overload --output demo.yaml
  pipectl init http-ingest --output -`,
		Args: atMostOne("one template"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return templateNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := io.WriteString(std.Out, "pipectl init TEMPLATE writes a pipeline to begin with:\n"+templateList())
				return err
			}
			o.template = args[0]
			return runInit(std, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "pipeline.yaml", "the `FILE` to write; - is standard output")
	f.BoolVar(&o.force, "force", false, "replace a file that is there")
	return cmd
}

func runInit(std streams, o initOptions) error {
	if err := oneOfWords("template", o.template, templateNames()); err != nil {
		return err
	}
	data := template(o.template)
	if o.output == "-" {
		_, err := std.Out.Write(data)
		return err
	}
	if err := create(o.output, data, o.force); err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(o.output), schemaFile)
	wrote := o.output
	if old, err := os.ReadFile(beside); err != nil || !bytes.Equal(old, schema.Pipeline) {
		if err := create(beside, schema.Pipeline, true); err != nil {
			return err
		}
		wrote += " and " + beside
	}
	_, err := fmt.Fprintf(std.Out, "wrote %s; next: pipectl run %s\n", wrote, o.output)
	return err
}

// create writes a file that is not there yet; with force it may be.
func create(file string, data []byte, force bool) error {
	if _, err := os.Lstat(file); err == nil && !force {
		return usagef("%s is there already: --force replaces it, --output writes another", file)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("%w", err)
	}
	if err := replaceFile(file, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		return &exitError{engine.ExitFailed, fmt.Errorf("%s: %w", file, err)}
	}
	return nil
}

func templateNames() []string {
	files, err := fs.Glob(templates, "templates/*.yaml")
	if err != nil || len(files) == 0 {
		panic("BUG: there are no templates")
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return names
}

func template(name string) []byte {
	data, err := templates.ReadFile("templates/" + name + ".yaml")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return data
}

// templateList says what each template is for: its second line.
func templateList() string {
	var b strings.Builder
	for _, name := range templateNames() {
		lines := strings.SplitN(string(template(name)), "\n", 3)
		fmt.Fprintf(&b, "  %-12s %s\n", name, strings.TrimPrefix(lines[1], "# "))
	}
	return b.String()
}
