package diff_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/check"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

func TestMemoryOfEachChange(t *testing.T) {
	old := edit(t)
	f := func(want map[string]int64, pairs ...string) {
		t.Helper()
		next := edit(t, pairs...)
		r := diff.Compare(old, next)
		total := int64(0)
		for _, c := range r.Changes {
			if c.MemoryDelta != want[c.Subject()] {
				t.Errorf("%s: got %d, want %d", c.Subject(), c.MemoryDelta, want[c.Subject()])
			}
			total += c.MemoryDelta
			delete(want, c.Subject())
		}
		if len(want) > 0 {
			t.Errorf("%q: no change of %v", pairs, want)
		}
		before, after := check.Analyze(old).MemoryBytes, check.Analyze(next).MemoryBytes
		if r.MemoryBefore != before || r.MemoryAfter != after || total != after-before {
			t.Errorf("%q: got %d to %d, a difference of %d; want %d to %d", pairs, r.MemoryBefore, r.MemoryAfter, total, before, after)
		}
	}
	f(map[string]int64{})
	f(map[string]int64{"edge entry": 16 << 20}, "name: entry", "name: entry, buffer: {bytes: 32MiB}")
	f(map[string]int64{"edge entry": -8 << 20}, "name: entry", "name: entry, buffer: {bytes: 1MiB}")
	f(map[string]int64{"source in": 1 << 20}, "events: 100", "events: 100, bytes: 1MiB")
	f(map[string]int64{"edge keep->web": 16 << 20}, "- split.big -> out", "- split.big -> out\n  - keep -> web")
	f(map[string]int64{"edge entry": 48 << 20, "pipeline limits.max_event_bytes": 4 * (16 << 20)},
		"name: entry", "name: entry, buffer: {bytes: 64MiB}", "memory: 1GiB", "memory: 1GiB, max_event_bytes: 32MiB")
}

func TestGuaranteeChanges(t *testing.T) {
	old := edit(t)
	// f compares base with an edit of it; want are its guarantees and, after
	// "by", the changes that they are noted at.
	f := func(want []string, pairs ...string) {
		t.Helper()
		r := diff.Compare(old, edit(t, pairs...))
		var got []string
		for _, g := range r.Guarantees {
			line := g.String() + " by"
			for _, c := range r.Changes {
				for _, text := range c.Guarantees {
					if strings.HasPrefix(g.String(), text) {
						line += " " + c.Subject() + ","
					}
				}
			}
			got = append(got, strings.TrimSuffix(line, ","))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q: got\n%s\nwant\n%s", pairs, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f(nil, "500", "400")
	f([]string{
		"in -> out: at-least-once becomes at-most-once (weaker) because edge entry is drop-oldest by edge entry",
		"in -> web: still at-most-once (weaker) because edge entry is drop-oldest by edge entry",
	}, "name: entry", "name: entry, policy: drop-oldest")
	f([]string{"in -> web: at-most-once becomes at-least-once; no longer: edge split.small->web is sample by edge split.small->web"},
		", policy: {type: sample, key: user}", "")
	f([]string{"in -> web: still at-most-once because edge split.small->web is drop-newest; no longer: edge split.small->web is sample by edge split.small->web"},
		"{type: sample, key: user}", "drop-newest")
	f([]string{
		"in -> out: still at-least-once (weaker) because stage parse may change the order by stage parse",
		"in -> web: still at-most-once (weaker) because stage parse may change the order by stage parse",
	}, "workers: 2", "workers: 2, ordered: false")
	f([]string{
		"in -> out: at-least-once becomes at-most-once (weaker) because stage keep drops what fails (on_error: drop) by stage keep",
		"in -> web: still at-most-once (weaker) because stage keep drops what fails (on_error: drop) by stage keep",
	}, "type: filter", "type: filter, on_error: drop")
	f([]string{"in -> more: new, at-least-once by sink more"},
		"sinks:", "sinks:\n  more: {type: discard}", "edges:", "edges:\n  - keep -> more")
	f([]string{
		"gen -> out: new, best-effort because source gen: what generate made up is not kept by source gen",
		"gen -> web: new, at-most-once because edge split.small->web is sample, source gen: what generate made up is not kept by source gen",
	}, "sources:", "sources:\n  gen: {type: generate, count: 1}", "edges:", "edges:\n  - gen -> keep")
	f([]string{"in -> out: no longer connected, was at-least-once by sink out"},
		"  out: {type: file, path: out.ndjson, codec: {type: csv, columns: [a, b]}}\n", "", "split.big -> out", "split.big -> web")
}

func TestCouplingsAndFindings(t *testing.T) {
	old := edit(t)
	f := func(couplings, findings string, pairs ...string) {
		t.Helper()
		r := diff.Compare(old, edit(t, pairs...))
		var got, found []string
		for _, c := range r.Couplings {
			got = append(got, c.String())
		}
		for _, d := range r.Findings {
			found = append(found, d.Code)
		}
		if strings.Join(got, "\n") != couplings || strings.Join(found, " ") != findings {
			t.Errorf("%q: got\n%s\nand %v", pairs, strings.Join(got, "\n"), found)
		}
	}
	f("", "", "500", "400")
	f("no longer: when out stalls, source in stops and sink web starves", "policy-never-applies", "- split.big -> out", "- {from: split.big, to: out, policy: drop-oldest}")
	f("when web stalls, source in stops and sink out starves", "", ", policy: {type: sample, key: user}", "")
	f("when out stalls, sink web starves; no longer: when out stalls, source in stops and sink web starves", "policy-never-applies",
		"name: entry", "name: entry, policy: drop-oldest")
	f("", "batch-never-full", "path: out.ndjson", "path: out.ndjson, batch: {events: 1000}")
}

// TestForms compares two files in all three forms with golden files.
func TestForms(t *testing.T) {
	load := func(file string) *config.Pipeline {
		p, ds := config.Load("testdata/"+file, config.Options{File: file})
		if ds.HasErrors() {
			t.Fatal(ds.Err())
		}
		return p
	}
	r := diff.Compare(load("old.yaml"), load("new.yaml"))
	f := func(file string, write func(b *bytes.Buffer) error) {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile("testdata/"+file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile("testdata/" + file)
		if err != nil || b.String() != string(want) {
			t.Errorf("%s: error %v, got:\n%s", file, err, b.String())
		}
	}
	f("want.txt", func(b *bytes.Buffer) error { return r.WriteText(b) })
	f("want.md", func(b *bytes.Buffer) error { return r.WriteMarkdown(b) })
	f("want.json", func(b *bytes.Buffer) error {
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	})
}

func TestFormsOfNothing(t *testing.T) {
	r := diff.Compare(edit(t), edit(t))
	var text, md, js bytes.Buffer
	if err := r.WriteText(&text); err != nil || text.String() != "p: none: nothing changes\n" {
		t.Errorf("error %v, got %q", err, text.String())
	}
	if err := r.WriteMarkdown(&md); err != nil || md.String() != "### `p`: none\n\nNothing changes.\n" {
		t.Errorf("error %v, got %q", err, md.String())
	}
	if err := json.NewEncoder(&js).Encode(r); err != nil || strings.Contains(js.String(), "null") {
		t.Errorf("error %v, got %s", err, js.String())
	}
}

// TestFormsOfMany checks that a large change is cut, and says so: every edge
// changes, every guarantee, and every coupling, which names every other sink.
func TestFormsOfMany(t *testing.T) {
	before := large(300, 10)
	r := diff.Compare(parse(t, before), parse(t, strings.ReplaceAll(before, "policy: drop-oldest", "policy: block")))
	var text, md bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "\nand 100 more changes\n") || !strings.Contains(text.String(), "\n  and 100 more\n") {
		t.Errorf("error %v, got %d bytes", err, text.Len())
	}
	if err := r.WriteMarkdown(&md); err != nil || !strings.Contains(md.String(), "| and 200 more |") || !strings.Contains(md.String(), "- and 260 more\n") || md.Len() > 65_536 {
		t.Errorf("error %v, got %d bytes", err, md.Len())
	}
	if len(r.Guarantees) != 300 || len(r.Couplings) != 300 {
		t.Errorf("got %d guarantees and %d couplings", len(r.Guarantees), len(r.Couplings))
	}
}
