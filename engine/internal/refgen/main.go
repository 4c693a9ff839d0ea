// Refgen writes the reference pages of docs/reference out of the manual, which
// comes from the doc comments of the components.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pipectl/pipectl/engine/manual"
	"github.com/pipectl/pipectl/engine/pipe"

	_ "github.com/pipectl/pipectl/sinks"   // registers the sink types
	_ "github.com/pipectl/pipectl/sources" // registers the source types
	_ "github.com/pipectl/pipectl/stages"  // registers the stage types
)

func main() {
	dir := flag.String("dir", "docs/reference", "the `DIR` to write to")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := map[string]string{"file.md": filePage()}
	for _, kind := range manual.Kinds() {
		pages[string(kind)+"s.md"] = kindPage(kind)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

const made = "This page is generated from the source by `make generate`; `pipectl explain` says the same.\n"

// kindPage has all components of a kind.
func kindPage(kind pipe.Kind) string {
	var p page
	list := manual.Components(kind)
	title := strings.ToUpper(string(kind[:1])) + string(kind[1:]) + "s"
	p.line("# " + title + "\n\n" + made)
	for _, e := range list {
		p.line(fmt.Sprintf("- [`%s`](#%s): %s", e.Type, e.Type, escape(synopsis(e))))
	}
	common := manual.Common(kind)
	anchor := "what-every-" + string(kind) + "-has"
	p.line(fmt.Sprintf("- [what every %s has](#%s)\n", kind, anchor))
	for _, e := range list {
		p.entry("## "+e.Type, e)
	}
	p.entry("## What every "+string(kind)+" has", common)
	return p.String()
}

// filePage has the parts of a file that are not nodes.
func filePage() string {
	var p page
	p.line("# The pipeline file\n\n" + made)
	p.line("- [the top level](#the-top-level)\n- [an edge](#an-edge)\n- [policies](#policies)")
	p.line("- nodes: [sources](sources.md), [stages](stages.md), [sinks](sinks.md)\n")
	p.entry("## The top level", manual.Pipeline())
	p.entry("## An edge", manual.Edge())
	p.line("## Policies\n")
	for _, e := range manual.Policies() {
		p.entry("### "+e.Type, e)
	}
	return p.String()
}

type page struct{ strings.Builder }

func (p *page) line(text string) { p.WriteString(text + "\n") }

func (p *page) entry(title string, e manual.Entry) {
	p.line(title + "\n\n" + markdown(e.Text, "") + "\n")
	if e.Example != "" {
		p.line("```yaml\n" + e.Example + "```\n")
	}
	for _, f := range e.Fields {
		p.field(f, "")
	}
	if len(e.Fields) > 0 {
		p.line("")
	}
}

func (p *page) field(f manual.Field, indent string) {
	p.line(fmt.Sprintf("%s- **`%s`** (%s): %s", indent, f.Name, f.Facts(), strings.TrimSpace(markdown(f.Text, indent+"  "))))
	for _, below := range f.Fields {
		p.field(below, indent+"  ")
	}
}

// synopsis is the first sentence without the name.
func synopsis(e manual.Entry) string { return strings.TrimPrefix(e.Synopsis, e.Type+" ") }

// markdown writes the paragraphs of a text, indented.
func markdown(text, indent string) string {
	var blocks []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if !strings.HasPrefix(paragraph, "    ") {
			blocks = append(blocks, indent+escape(paragraph)+"\n")
			continue
		}
		var b strings.Builder
		for line := range strings.SplitSeq(paragraph, "\n") {
			b.WriteString(indent + strings.TrimPrefix(line, "    ") + "\n")
		}
		blocks = append(blocks, indent+"```\n"+b.String()+indent+"```\n")
	}
	return strings.Join(blocks, "\n")
}

// escape keeps the characters of a text from having a meaning in Markdown.
var escaper = strings.NewReplacer("*", `\*`, "_", `\_`, "<", "&lt;", "|", `\|`, "[", `\[`, "]", `\]`, "`", "\\`")

func escape(text string) string { return escaper.Replace(text) }
