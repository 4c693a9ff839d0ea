package main

import (
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/manual"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/spf13/cobra"
)

const componentsLong = `List the types of sources, stages and sinks that this pipectl has. As JSON each comes
with its options, their types, defaults, bounds and texts.`

type componentsOptions struct {
	kind   string
	format string
}

func newComponentsCommand(std streams) *cobra.Command {
	var o componentsOptions
	cmd := &cobra.Command{
		Use:     "components",
		Short:   "List the types of sources, stages and sinks",
		Long:    componentsLong,
		Example: "  pipectl components --kind sink\n  pipectl components --format json | jq '.[].type'",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return runComponents(std, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", "", "only this `KIND`: "+strings.Join(kindNames(), ", "))
	f.StringVar(&o.format, "format", "text", "output `FORMAT`: text or json")
	offer(cmd, "kind", kindNames()...)
	offer(cmd, "format", "text", "json")
	return cmd
}

func kindNames() []string {
	var names []string
	for _, k := range manual.Kinds() {
		names = append(names, string(k))
	}
	return names
}

func runComponents(std streams, o componentsOptions) error {
	if err := oneOf("format", o.format, "text", "json"); err != nil {
		return err
	}
	kinds := manual.Kinds()
	if o.kind != "" {
		if err := oneOf("kind", o.kind, kindNames()...); err != nil {
			return err
		}
		kinds = slices.DeleteFunc(kinds, func(k pipe.Kind) bool { return string(k) != o.kind })
	}
	all := []manual.Entry{}
	for _, k := range kinds {
		all = append(all, manual.Components(k)...)
	}
	if o.format == "json" {
		return encodeJSON(std.Out, all)
	}
	width := 0
	for _, e := range all {
		width = max(width, len(e.Type))
	}
	var b strings.Builder
	for _, e := range all {
		b.WriteString(padRight(e.Kind, 6) + "  " + padRight(e.Type, width) + "  " + meaning(e) + "\n")
	}
	_, err := std.Out.Write([]byte(b.String()))
	return err
}
