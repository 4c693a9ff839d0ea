package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/manual"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/spf13/cobra"
)

const explainLong = `Explain a component, a key, a policy or a part of a pipeline file: what it does,
its options with their types and defaults, and an example.

A NAME is a type (file), a kind and a type where several kinds have it (sink.file),
a key of one of these (http.url, sink.file.rotate.bytes), what all nodes of a kind
have (source, stage, sink), a policy (drop-oldest), edge, pipeline, or a key of the
top level (limits.memory).`

type explainOptions struct {
	names  []string
	format string
}

func newExplainCommand(std streams) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [NAME...]",
		Short: "Explain a component, a policy or a key",
		Long:  explainLong,
		Example: `  pipectl explain http_server
  pipectl explain sink.file.rotate
  pipectl explain drop-oldest edge.buffer limits.memory`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return manual.Topics(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o.names = args
			return runExplain(std, o)
		},
	}
	cmd.Flags().StringVar(&o.format, "format", "text", "output `FORMAT`: text or json")
	offer(cmd, "format", "text", "json")
	return cmd
}

func runExplain(std streams, o explainOptions) error {
	if err := oneOf("format", o.format, "text", "json"); err != nil {
		return err
	}
	if len(o.names) == 0 {
		if o.format == "json" {
			return usagef("explain: name what to explain; pipectl components --format json lists everything")
		}
		return writeTopics(std.Out)
	}
	var found []manual.Found
	for _, name := range o.names {
		more, err := manual.Find(name)
		if err != nil {
			return usagef("explain: %w", err)
		}
		found = append(found, more...)
	}
	if o.format == "json" {
		return encodeJSON(std.Out, found)
	}
	var b strings.Builder
	for i, f := range found {
		if i > 0 {
			b.WriteString("\n")
		}
		explanation{&b}.found(f)
	}
	_, err := io.WriteString(std.Out, b.String())
	return err
}

// explanation writes what is found, for people.
type explanation struct{ *strings.Builder }

// textWidth is the width of a paragraph, in columns.
const textWidth = 84

func (x explanation) found(f manual.Found) {
	if f.Field == nil {
		x.entry(f.Entry)
		return
	}
	fmt.Fprintf(x, "%s: %s", strings.TrimSpace(f.Entry.Kind+" "+f.Entry.Type), f.Path)
	if facts := f.Field.Facts(); facts != "" {
		x.WriteString(" (" + facts + ")")
	}
	x.WriteString("\n\n")
	x.text(f.Field.Text, "  ")
	x.keys("KEYS", f.Field.Fields, true)
	x.example(f.Entry.Example)
}

func (x explanation) entry(e manual.Entry) {
	x.WriteString(strings.TrimSpace(e.Kind+" "+e.Type) + "\n\n")
	x.text(e.Text, "  ")
	title := "OPTIONS"
	if e.Kind == "" {
		title = "KEYS"
	}
	x.keys(title, e.Fields, true)
	if kind := pipe.Kind(e.Kind); slices.Contains(manual.Kinds(), kind) {
		x.keys("OPTIONS OF EVERY "+strings.ToUpper(e.Kind)+" (pipectl explain "+e.Kind+")", manual.Common(kind).Fields, false)
	}
	x.example(e.Example)
}

// keys lists fields, with their texts and those below them when whole.
func (x explanation) keys(title string, fields []manual.Field, whole bool) {
	if len(fields) == 0 {
		return
	}
	x.WriteString("\n" + title + "\n")
	if !whole {
		var names []string
		for _, f := range fields {
			names = append(names, f.Name)
		}
		x.text(strings.Join(names, ", "), "  ")
		return
	}
	for _, f := range fields {
		x.key(f, "  ")
	}
}

func (x explanation) key(f manual.Field, indent string) {
	x.WriteString(indent + f.Name)
	if facts := f.Facts(); facts != "" {
		x.WriteString(" (" + facts + ")")
	}
	x.WriteString("\n")
	x.text(f.Text, indent+"    ")
	if len(f.Fields) > 0 {
		var names []string
		for _, below := range f.Fields {
			names = append(names, below.Name)
		}
		x.text("Keys: "+strings.Join(names, ", ")+".", indent+"    ")
	}
}

// text writes the paragraphs of a text; lines of code stay as they are.
func (x explanation) text(text, indent string) {
	for i, paragraph := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(paragraph, "    "):
			x.WriteString(indent + paragraph + "\n")
		case paragraph == "" && i > 0:
			x.WriteString("\n")
		default:
			for _, line := range wrap(paragraph, textWidth-len(indent), 1000) {
				x.WriteString(indent + line + "\n")
			}
		}
	}
}

func (x explanation) example(yaml string) {
	if yaml == "" {
		return
	}
	x.WriteString("\nEXAMPLE\n")
	for line := range strings.Lines(yaml) {
		x.WriteString("  " + line)
	}
}

// writeTopics writes what there is to explain.
func writeTopics(w io.Writer) error {
	var b strings.Builder
	x := explanation{&b}
	for _, kind := range manual.Kinds() {
		x.list(strings.ToUpper(string(kind))+"S", manual.Components(kind))
	}
	x.list("POLICIES OF AN EDGE", manual.Policies())
	top := []manual.Entry{manual.Pipeline(), manual.Edge()}
	for _, kind := range manual.Kinds() {
		top = append(top, manual.Common(kind))
	}
	x.list("PARTS OF A FILE", top)
	b.WriteString("pipectl explain NAME says more: pipectl explain file, drop-oldest, sink.retry, limits.memory\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (x explanation) list(title string, entries []manual.Entry) {
	x.WriteString(title + "\n")
	width := 0
	for _, e := range entries {
		width = max(width, len(e.Type))
	}
	for _, e := range entries {
		lines := wrap(meaning(e), textWidth-width-4, 1000)
		for i, line := range lines {
			name := ""
			if i == 0 {
				name = e.Type
			}
			fmt.Fprintf(x, "  %-*s  %s\n", width, name, line)
		}
	}
	x.WriteString("\n")
}

// meaning is the synopsis of e without its name.
func meaning(e manual.Entry) string {
	for _, lead := range []string{e.Type + " ", e.Type + ": "} {
		if rest, ok := strings.CutPrefix(e.Synopsis, lead); ok {
			return rest
		}
	}
	return e.Synopsis
}
