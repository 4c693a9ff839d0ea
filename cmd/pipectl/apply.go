package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/spf13/cobra"
)

const applyLong = `Make FILE the configuration of a running pipeline. Only what differs changes:
edge settings at once, a stage or a sink by being replaced while its edges keep
what they hold. All of it changes or, when anything is wrong, nothing.

The file is sent as it is: ${NAME} means the environment of the running process.
- is standard input. The pipeline's own file is not written to.

A guard is a condition over what happens after the change, looked at once a
second: edges["a->b"].dropped_rate == 0 && sinks.out.failed_rate == 0`

func newApplyCommand(std streams) *cobra.Command {
	var a asker
	var t trial
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make a file the configuration of a running pipeline",
		Long:  applyLong,
		Example: `  pipectl apply pipeline.yaml --dry-run
  pipectl apply pipeline.yaml --confirm-within 60s
  pipectl apply pipeline.yaml --guard 'edges["keep->out"].dropped_rate == 0' --for 2m`,
		Args:              oneFile,
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.validate(cmd); err != nil {
				return err
			}
			yaml, err := readPipeline(std.In, args[0])
			if err != nil {
				return err
			}
			c := call{method: http.MethodPost, path: []string{"api", "v1", "apply"}, query: t.query(), body: yaml, kind: "application/yaml"}
			return a.change(cmd, std, c, t, args[0])
		},
	}
	t.flags(cmd)
	a.flags(cmd)
	return cmd
}

// readPipeline reads a pipeline file as it is.
func readPipeline(in io.Reader, file string) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("%w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, config.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(data) > config.MaxFileBytes {
		return nil, usagef("%s is larger than %s", file, bytesText(config.MaxFileBytes))
	}
	return data, nil
}
