package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"

	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func newDLQCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters and replay them",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDLQLsCommand(std), newDLQShowCommand(std), newDLQReplayCommand(std))
	return cmd
}

// letterFiles turns arguments into files of dead letters, in order and each once.
// A pattern means the files that match it, but not those that remember what was
// replayed.
func letterFiles(cmd *cobra.Command, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, usagef("%s: name the file with dead letters, such as: %s bad.ndjson", cmd.Name(), cmd.CommandPath())
	}
	var files []string
	for _, arg := range args {
		more := []string{arg}
		if _, err := os.Stat(arg); err != nil && strings.ContainsAny(arg, "*?[{") {
			var err error
			if more, err = doublestar.FilepathGlob(arg, doublestar.WithFilesOnly()); err != nil {
				return nil, usagef("pattern %q: %w", arg, err)
			}
			more = slices.DeleteFunc(more, func(f string) bool { return strings.HasSuffix(f, dlq.DoneSuffix) })
			if len(more) == 0 {
				return nil, usagef("no file matches %q", arg)
			}
			slices.Sort(more)
		}
		for _, f := range more {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// letterFilter is the --where of the commands about dead letters.
type letterFilter struct{ text string }

func (o *letterFilter) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.text, "where", "", "only letters for which this `EXPRESSION` is true: node == \"es\" and event.status >= 500")
}

// compile returns the condition, which holds for all letters when there is none.
func (o *letterFilter) compile() (*expr.Bool, error) {
	var where expr.Bool
	if o.text == "" {
		return &where, nil
	}
	err := where.UnmarshalText([]byte(o.text))
	var at *pipe.OffsetError
	if errors.As(err, &at) && !strings.Contains(o.text, "\n") {
		return nil, usagef("--where: %w\n  %s\n  %s^", err, o.text, strings.Repeat(" ", len([]rune(o.text[:at.Offset]))))
	} else if err != nil {
		return nil, usagef("--where: %w", err)
	}
	return &where, nil
}

// eachLetter calls visit with every line of the files that is a dead letter and
// fits, in order, with a number that counts the letters of all files together,
// and whether it was replayed. It goes on after a file that cannot be read to its
// end, and returns that error in the end.
func eachLetter(files []string, where *expr.Bool, visit func(n int64, f *dlq.Found, replayed bool) error, bad func(f *dlq.Found)) error {
	n := int64(0)
	var trouble error
	for _, path := range files {
		err := eachOf(path, func(f *dlq.Found, done *dlq.Done) error {
			if f.Bad != nil {
				bad(f)
				return nil
			}
			n++
			ok, err := where.Eval(f.Record)
			if err != nil {
				return usagef("--where: %s: %w", f.Place, err)
			}
			if !ok {
				return nil
			}
			return visit(n, f, done.Has(f.From))
		})
		var stop *exitError
		switch {
		case errors.As(err, &stop):
			return err
		case errors.Is(err, fs.ErrNotExist):
			return usagef("%w", err)
		}
		trouble = errors.Join(trouble, err)
	}
	return trouble
}

// eachOf calls visit with every line of a file.
func eachOf(path string, visit func(f *dlq.Found, done *dlq.Done) error) error {
	r, err := dlq.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	var done *dlq.Done
	for {
		f, err := r.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if done == nil {
			if done, err = dlq.LoadDone(path, r.Print()); err != nil {
				return err
			}
		}
		if err := visit(&f, done); err != nil {
			return err
		}
	}
}

// tellBad names lines that are no dead letters; all counts those that are not in
// lines, too.
func tellBad(w io.Writer, all int64, lines []string) {
	for _, line := range lines {
		fmt.Fprintln(w, "skipped "+printable(line))
	}
	if more := all - int64(len(lines)); more > 0 {
		fmt.Fprintf(w, "skipped %s more, %s in all\n", plural(more, "line"), commas(all))
	}
}
