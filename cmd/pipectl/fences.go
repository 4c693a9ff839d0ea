package main

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// fence is a fenced block of a Markdown page.
type fence struct {
	line   int // of its first line of text, from 1
	indent int // the columns before the fence
	text   string
}

var (
	fenceOpen   = regexp.MustCompile("^( *)(`{3,}|~{3,}) *ya?ml\\b")
	hasPipeline = regexp.MustCompile(`(?m)^edges:`)
)

func isMarkdown(file string) bool {
	ext := strings.ToLower(filepath.Ext(file))
	return ext == ".md" || ext == ".markdown"
}

// fences returns the fenced blocks of a page that are marked yaml and hold a
// pipeline: something with edges at the top.
func fences(page string) []fence {
	var all []fence
	lines := strings.Split(strings.ReplaceAll(page, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		open := fenceOpen.FindStringSubmatch(lines[i])
		if open == nil {
			continue
		}
		f := fence{line: i + 2, indent: len(open[1])}
		var b strings.Builder
		for i++; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), open[2]); i++ {
			b.WriteString(strings.TrimPrefix(lines[i], open[1]) + "\n")
		}
		if f.text = b.String(); hasPipeline.MatchString(f.text) {
			all = append(all, f)
		}
	}
	return all
}

// padded is the text with as many lines before it as on the page.
func (f fence) padded() string { return strings.Repeat("\n", f.line-1) + f.text }

// shift moves diagnostics about the padded text to their columns on the page.
func (f fence) shift(ds config.Diagnostics) {
	for i := range ds {
		if ds[i].Col > 0 {
			ds[i].Col += f.indent
			ds[i].Source = strings.Repeat(" ", f.indent) + ds[i].Source
		}
	}
}
