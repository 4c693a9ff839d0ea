package main

import (
	"github.com/pipectl/pipectl/schema"
	"github.com/spf13/cobra"
)

const schemaLong = `Print the JSON Schema (draft 2020-12) of pipeline files. With it an editor
completes keys, shows what they mean, and marks mistakes while you type.

Save it beside your pipelines and begin each of them with this line:

  # yaml-language-server: $schema=pipeline.schema.json

The schema knows less than pipectl validate: not the expressions, and not
whether the edges fit together.`

func newSchemaCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of pipeline files, for editors",
		Long:    schemaLong,
		Example: "  pipectl schema > pipeline.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := std.Out.Write(schema.Pipeline)
			return err
		},
	}
}
