package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/spf13/cobra"
)

var graphFormats = []string{"text", "mermaid", "dot"}

type graphOptions struct {
	file   string
	set    []string
	format string
}

func newGraphCommand(std streams) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph FILE",
		Short: "Draw a pipeline: its nodes, and its edges with buffer and policy",
		Example: `  pipectl graph pipeline.yaml
  pipectl graph pipeline.yaml --format mermaid
  pipectl graph pipeline.yaml --format dot | dot -Tsvg -o pipeline.svg`,
		Args:              oneFile,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.file = args[0]
			return runGraph(std, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "text", "output `FORMAT`: text, mermaid or dot")
	f.StringArrayVar(&o.set, "set", nil, "change a value of the file, `PATH=VALUE`; may be repeated")
	offer(cmd, "format", graphFormats...)
	return cmd
}

func runGraph(std streams, o graphOptions) error {
	if err := oneOf("format", o.format, graphFormats...); err != nil {
		return err
	}
	p, err := loadPipeline(std, o.file, o.set)
	if err != nil {
		return err
	}
	draw := map[string]func(io.Writer, *config.Pipeline) error{"text": drawText, "mermaid": drawMermaid, "dot": drawDot}
	return draw[o.format](std.Out, p)
}

// bufferText says what an edge holds: "1,024 events, 16MiB, 30s".
func bufferText(e *config.Edge) string {
	parts := []string{plural(int64(e.Buffer.Events), "event")}
	if e.Buffer.Bytes > 0 {
		parts = append(parts, bytesText(int64(e.Buffer.Bytes)))
	}
	if e.Buffer.Age > 0 {
		parts = append(parts, "at most "+tidy(e.Buffer.Age.D())+" old")
	}
	return strings.Join(parts, ", ")
}

// policyText says what an edge does when it is full, with the options that
// matter.
func policyText(e *config.Edge) string {
	p := e.Policy
	text := p.Type
	switch {
	case p.Type == config.Block && p.Timeout > 0:
		text += fmt.Sprintf(" %s then %s", tidy(p.Timeout.D()), p.Then)
	case p.Type == config.Sample:
		text += fmt.Sprintf(" %g to %g from %.0f%% full", p.BaseRate, p.MinRate, p.Threshold*100)
		if p.Key != nil && !p.Key.IsZero() {
			text += " by " + p.Key.Source()
		}
	}
	if e.OnDrop == "nack" {
		text += ", on_drop: nack"
	}
	if e.Priority > 0 {
		text += fmt.Sprintf(", priority %d", e.Priority)
	}
	return text
}

// edgeTitle is the port and the name of an edge, where it has them.
func edgeTitle(e *config.Edge) string {
	var parts []string
	if e.Port != "" {
		parts = append(parts, "."+e.Port)
	}
	if e.Name != "" {
		parts = append(parts, fmt.Sprintf("%q", e.Name))
	}
	return strings.Join(parts, " ")
}

// failedPort is the port that failures leave through.
const failedPort = "failed"
