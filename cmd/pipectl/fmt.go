package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/spf13/cobra"
)

const fmtLong = `Write pipeline files in their usual layout: keys in the order of the manual, an
indentation of two spaces, no blanks at the ends of lines. Comments and values stay
as they are written.

Files are written in place, each by a new file that takes the place of the old one,
and the names of those that changed are printed. A folder means the .yaml and .yml
files in it and below; - reads standard input and writes standard output.`

type fmtOptions struct {
	args  []string
	check bool
}

func newFmtCommand(std streams) *cobra.Command {
	var o fmtOptions
	cmd := &cobra.Command{
		Use:               "fmt FILE|DIR|PATTERN|-...",
		Short:             "Write pipeline files in their usual layout",
		Long:              fmtLong,
		Example:           "  pipectl fmt pipeline.yaml\n  pipectl fmt --check pipelines/\n  pipectl fmt - < draft.yaml",
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.args = args
			return runFmt(std, o)
		},
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "change nothing; print the files that are not in this layout and exit with 1")
	return cmd
}

func runFmt(std streams, o fmtOptions) error {
	if len(o.args) == 0 {
		return usagef("fmt: name the files to format, such as: pipectl fmt pipeline.yaml")
	}
	files, err := pipelineFiles(o.args)
	if err != nil {
		return err
	}
	changed, bad := 0, 0
	for _, file := range files {
		data, err := readPipelineFile(std.In, file)
		if err != nil {
			return err
		}
		out, ds := config.Format(data, displayName(file))
		if out == nil {
			bad++
			if err := ds.WriteText(std.Err); err != nil {
				return err
			}
			continue
		}
		same := bytes.Equal(data, out)
		if !same {
			changed++
		}
		if err := o.write(std.Out, file, out, same); err != nil {
			return err
		}
	}
	switch {
	case bad > 0:
		return usagef("%d of %d files cannot be formatted", bad, len(files))
	case o.check && changed > 0:
		return &exitError{engine.ExitFailed, fmt.Errorf("%d of %d files are not formatted", changed, len(files))}
	}
	return nil
}

// write puts a formatted file where it belongs.
func (o *fmtOptions) write(w io.Writer, file string, data []byte, same bool) error {
	var err error
	switch {
	case file == "-" && !o.check:
		_, err = w.Write(data)
	case same:
	case o.check:
		_, err = fmt.Fprintln(w, displayName(file))
	default:
		put := func(w io.Writer) error { _, err := w.Write(data); return err }
		if err := replaceFile(file, put); err != nil {
			return &exitError{engine.ExitFailed, fmt.Errorf("%s: %w", file, err)}
		}
		_, err = fmt.Fprintln(w, file)
	}
	return err
}

// displayName is what a file is called in messages.
func displayName(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

// readPipelineFile reads a file, or standard input for "-".
func readPipelineFile(in io.Reader, file string) ([]byte, error) {
	if file == "-" {
		data, err := io.ReadAll(io.LimitReader(in, config.MaxFileBytes+1))
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return data, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, config.MaxFileBytes+1))
	if err != nil {
		return nil, usagef("%w", err)
	}
	return data, nil
}
