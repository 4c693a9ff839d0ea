package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/pipe"
)

const dlqLsLong = `Say what is in files of dead letters: how many there are of each kind, and when the
first and the last of it came. A kind is the node, the class and the error; numbers
in an error do not make another kind. With --each every letter has a line, whose
number pipectl dlq show takes.

Files may be compressed with gzip or zstd. A pattern means all files that match it,
so that those that were put aside are looked at, too: 'bad*.ndjson'.

Expressions are those of a filter, over the record: error, class, node, attempts,
time, first_time, id, origin, source, position, generation, metadata.NAME, and event,
which is text or an object.`

type dlqLsOptions struct {
	files  []string
	where  letterFilter
	each   bool
	format string
}

func newDLQLsCommand(std streams) *cobra.Command {
	var o dlqLsOptions
	cmd := &cobra.Command{
		Use:   "ls FILE...",
		Short: "Count dead letters by node, class and error",
		Long:  dlqLsLong,
		Example: `  pipectl dlq ls bad.ndjson
  pipectl dlq ls 'bad*.ndjson*' --where 'node == "es" and time > "2026-01-31T12"'
  pipectl dlq ls bad.ndjson --each`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.files, err = letterFiles(cmd, args); err != nil {
				return err
			}
			return runDLQLs(std, o)
		},
	}
	o.where.flag(cmd)
	cmd.Flags().BoolVar(&o.each, "each", false, "a line for every letter")
	cmd.Flags().StringVar(&o.format, "format", "text", "output `FORMAT`: text or json")
	offer(cmd, "format", answerFormats...)
	return cmd
}

// letterReport is what ls says. Its JSON names are stable.
type letterReport struct {
	Letters  int64         `json:"letters"`
	Replayed int64         `json:"replayed"` // of them
	Bad      int64         `json:"bad"`      // lines that are no dead letters
	Kinds    []*letterKind `json:"kinds"`    // the most frequent first
	Each     []letterLine  `json:"each,omitempty"`

	badLines []string
}

type letterKind struct {
	Node     string     `json:"node"`
	Class    pipe.Class `json:"class"`
	Error    string     `json:"error"`
	Count    int64      `json:"count"`
	Replayed int64      `json:"replayed"`
	First    time.Time  `json:"first_time"` // when the first of them was given up
	Last     time.Time  `json:"last_time"`
}

type letterLine struct {
	Number   int64      `json:"n"`
	Place    string     `json:"place"`
	Time     time.Time  `json:"time"`
	Node     string     `json:"node"`
	Class    pipe.Class `json:"class"`
	ID       string     `json:"id"`
	Origin   string     `json:"origin"`
	Error    string     `json:"error"`
	Replayed bool       `json:"replayed"`
}

func runDLQLs(std streams, o dlqLsOptions) error {
	if err := oneOf("format", o.format, answerFormats...); err != nil {
		return err
	}
	where, err := o.where.compile()
	if err != nil {
		return err
	}
	report := letterReport{Kinds: []*letterKind{}}
	kinds := map[[3]string]*letterKind{}
	trouble := eachLetter(o.files, where, func(n int64, f *dlq.Found, replayed bool) error {
		report.add(n, f, replayed, o.each, kinds)
		return nil
	}, func(f *dlq.Found) {
		if report.Bad++; report.Bad <= dlq.MostBadLines {
			report.badLines = append(report.badLines, fmt.Sprintf("%s: %v", f.Place, f.Bad))
		}
	})
	if exit, ok := trouble.(*exitError); ok {
		return exit
	}
	slices.SortStableFunc(report.Kinds, func(a, b *letterKind) int { return cmp.Compare(b.Count, a.Count) })
	if o.format == "json" {
		text, err := json.Marshal(report)
		if err == nil {
			err = writeJSON(std.Out, text)
		}
		return cmp.Or(err, trouble)
	}
	if err := report.write(std.Out, o); err != nil {
		return err
	}
	tellBad(std.Err, report.Bad, report.badLines)
	return trouble
}

// are renders "1 line is" and "2 lines are".
func are(n int64, one string) string {
	return plural(n, one) + map[bool]string{true: " is", false: " are"}[n == 1]
}

func (r *letterReport) add(n int64, f *dlq.Found, replayed, each bool, kinds map[[3]string]*letterKind) {
	r.Letters++
	key := [3]string{f.Node, string(f.Class), unnumbered(f.Error)}
	k := kinds[key]
	if k == nil {
		k = &letterKind{Node: f.Node, Class: f.Class, Error: f.Error, First: f.Time, Last: f.Time}
		kinds[key] = k
		r.Kinds = append(r.Kinds, k)
	}
	if k.Error != f.Error {
		k.Error = key[2]
	}
	k.Count++
	if f.Time.Before(k.First) {
		k.First = f.Time
	}
	if f.Time.After(k.Last) {
		k.Last = f.Time
	}
	if replayed {
		r.Replayed++
		k.Replayed++
	}
	if each {
		r.Each = append(r.Each, letterLine{n, f.Place, f.Time, f.Node, f.Class, f.ID, f.Origin, f.Error, replayed})
	}
}

// unnumbered replaces runs of digits by #, so that "at byte 3" and "at byte 17" are
// the same kind of error.
func unnumbered(text string) string {
	var b strings.Builder
	inside := false
	for _, c := range text {
		digit := c >= '0' && c <= '9'
		switch {
		case !digit:
			b.WriteRune(c)
		case !inside:
			b.WriteByte('#')
		}
		inside = digit
	}
	return b.String()
}

// mostKinds bounds the table; JSON has all.
const mostKinds = 40

// mostError is the longest error in a table, in characters.
const mostError = 100

func (r *letterReport) write(w io.Writer, o dlqLsOptions) error {
	if r.Letters == 0 {
		return say(w, "no dead letters in %s", strings.Join(o.files, ", "))
	}
	t := table{}
	if o.each {
		t.add("N", "TIME", "NODE", "CLASS", "ID", "REPLAYED", "ORIGIN", "ERROR")
		for _, l := range r.Each {
			t.add(commas(l.Number), instant(l.Time), printable(l.Node), printable(string(l.Class)), printable(l.ID), ifText(l.Replayed, "yes"),
				printable(squeeze(l.Origin, maxReceiptName)), printable(clip(l.Error)))
		}
		t.writeTo(w)
		return nil
	}
	t.add("NODE", "CLASS", "LETTERS", "REPLAYED", "FIRST", "LAST", "ERROR")
	for i, k := range r.Kinds {
		if i == mostKinds {
			break
		}
		t.add(printable(k.Node), printable(string(k.Class)), commas(k.Count), commas(k.Replayed), instant(k.First), instant(k.Last), printable(clip(k.Error)))
	}
	t.writeTo(w)
	if more := len(r.Kinds) - mostKinds; more > 0 {
		fmt.Fprintf(w, "… and %s more; --format json has them all\n", plural(int64(more), "kind"))
	}
	return say(w, "%s, %s replayed", plural(r.Letters, "letter"), commas(r.Replayed))
}

// clip shortens an error for a table.
func clip(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > mostError {
		return string(r[:mostError-1]) + "…"
	}
	return text
}

// instant renders a time to the second, in UTC.
func instant(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
