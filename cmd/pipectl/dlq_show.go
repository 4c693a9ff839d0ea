package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipectl/pipectl/engine/dlq"
)

const dlqShowLong = `Show single dead letters: all that is known about each, and the event. A letter is
named by its number, as pipectl dlq ls --each shows it, or by the id of its event.

--format event writes the events alone, byte for byte, a line break after each;
json the records as they are.`

var showFormats = []string{"text", "json", "event"}

type dlqShowOptions struct {
	files  []string
	names  []string
	format string
}

func newDLQShowCommand(std streams) *cobra.Command {
	var o dlqShowOptions
	cmd := &cobra.Command{
		Use:   "show FILE N|ID...",
		Short: "Show single dead letters",
		Long:  dlqShowLong,
		Example: `  pipectl dlq show bad.ndjson 1
  pipectl dlq show 'bad*.ndjson' 3f1c09d2a7b65e88
  pipectl dlq show bad.ndjson 17 --format event | jq .`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.files, err = letterFiles(cmd, args[:min(1, len(args))]); err != nil {
				return err
			}
			if o.names = args[1:]; len(o.names) == 0 {
				return usagef("show: name the letters by number or id, such as: %s %s 1; pipectl dlq ls --each lists them", cmd.CommandPath(), args[0])
			}
			return runDLQShow(std, o)
		},
	}
	cmd.Flags().StringVar(&o.format, "format", "text", "output `FORMAT`: text, json or event")
	offer(cmd, "format", showFormats...)
	return cmd
}

func runDLQShow(std streams, o dlqShowOptions) error {
	if err := oneOf("format", o.format, showFormats...); err != nil {
		return err
	}
	missing := slices.Clone(o.names)
	shown := 0
	trouble := eachLetter(o.files, nil, func(n int64, f *dlq.Found, replayed bool) error {
		number := strconv.FormatInt(n, 10)
		if !slices.Contains(o.names, number) && !slices.Contains(o.names, f.ID) {
			return nil
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == number || name == f.ID })
		if shown++; shown > 1 && o.format == "text" {
			fmt.Fprintln(std.Out)
		}
		return showLetter(std.Out, o.format, n, f, replayed)
	}, func(*dlq.Found) {})
	switch {
	case trouble != nil:
		return trouble
	case len(missing) > 0:
		return fmt.Errorf("no dead letter %s in %s", strings.Join(missing, ", "), strings.Join(o.files, ", "))
	}
	return nil
}

// showLetter writes one letter.
func showLetter(w io.Writer, format string, n int64, f *dlq.Found, replayed bool) error {
	switch format {
	case "json":
		_, err := w.Write(append(f.Record.Body.AppendJSON(nil), '\n'))
		return err
	case "event":
		_, err := w.Write(append(f.Event.AppendText(nil), '\n'))
		return err
	}
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", key, printable(value))
		}
	}
	line("letter", fmt.Sprintf("%d, at %s", n, f.Place))
	line("error", f.Error)
	line("class", string(f.Class))
	line("node", f.Node)
	line("attempts", strconv.FormatInt(f.Attempts, 10))
	line("read", exactTime(f.FirstTime))
	line("given up", exactTime(f.Time))
	line("id", f.ID)
	line("origin", f.Origin)
	line("source", f.Source+ifText(f.Position > 0, fmt.Sprintf(", position %d", f.Position)))
	line("generation", ifText(f.Generation > 0, strconv.FormatUint(f.Generation, 10)))
	line("replayed", map[bool]string{true: "yes", false: "no"}[replayed])
	line("replays", ifText(f.Replays > 0, strconv.FormatInt(f.Replays, 10)+" before this one"))
	for _, m := range f.Metadata {
		line("metadata", m.Key+" = "+m.Value)
	}
	kind := "object"
	if f.Event.IsText() {
		kind = "text"
	}
	line("event", fmt.Sprintf("%s, %s", kind, plural(int64(f.Event.Size()), "byte")))
	for part := range strings.Lines(string(f.Event.AppendText(nil))) {
		fmt.Fprintf(&b, "  %s\n", printable(strings.TrimRight(part, "\r\n")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func exactTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
