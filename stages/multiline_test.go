package stages

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

func newMultiline(change ...func(*Multiline)) *Multiline {
	c, _ := pipe.Lookup(pipe.KindStage, "multiline")
	m := c.New().(*Multiline)
	for _, f := range change {
		f(m)
	}
	return m
}

func startsWith(t testing.TB, re string) func(*Multiline) {
	return func(m *Multiline) { m.Start = regex(t, re) }
}

func continues(t testing.TB, re string) func(*Multiline) {
	return func(m *Multiline) { m.Continue = regex(t, re) }
}

func indented(m *Multiline) { m.Indented = true }

func regex(t testing.TB, text string) (re Regexp) {
	t.Helper()
	if err := re.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return re
}

func TestMultilineJoins(t *testing.T) {
	f := func(m *Multiline, lines, want string) {
		t.Helper()
		r := run(t, m, strings.Split(lines, "|")...)
		same(t, lines, r.Emitted[""], strings.Split(strings.ReplaceAll(want, "+", "\n"), "|"))
	}
	f(newMultiline(indented), "a| b|\tc|d||e| f", "a+ b+\tc|d||e+ f")
	f(newMultiline(indented), " rest|  of it|a", " rest+  of it|a")
	f(newMultiline(startsWith(t, `^\d`)), "rest|1 a|x||y|2 b|3 c|z", "rest|1 a+x++y|2 b|3 c+z")
	f(newMultiline(continues(t, `^(Caused by|\.\.\.)`), indented), "boom| at x|Caused by y|... 3 more|fine", "boom+ at x+Caused by y+... 3 more|fine")
	f(newMultiline(indented, func(m *Multiline) { m.Separator = " / " }), "a| b", "a /  b")
	f(newMultiline(indented, func(m *Multiline) { m.MaxLines = 2 }), "a| b| c| d| e", "a+ b| c+ d| e")
	f(newMultiline(indented, func(m *Multiline) { m.MaxLines = 1 }), "a| b| c", "a| b| c")
	f(newMultiline(indented, func(m *Multiline) { m.MaxBytes = 5 }), "a| b| c|long line| d", "a+ b| c|long line| d")
	f(newMultiline(indented, func(m *Multiline) { m.MaxHeld = 2 }), "a| b| c| d", "a+ b| c+ d")
}

// Fields beside the line are those of the first event, also of one with escapes.
func TestMultilineObjects(t *testing.T) {
	m := newMultiline(indented, func(m *Multiline) { m.Field = "log" })
	r := run(t, m, `{"n":1,"log":"say \"a\""}`, `{"n":2,"log":" \"b\"","x":[1]}`, `{"n": 3, "log": "alone"}`, `{"n":4}`, `{"log":5}`)
	same(t, "emitted", r.Emitted[""], []string{`{"n":1,"log":"say \"a\"\n \"b\""}`, `{"n": 3, "log": "alone"}`})
	same(t, "failed", r.Failed, []string{`{"n":4}`, `{"log":5}`})
}

func TestMultilineByKey(t *testing.T) {
	keyed := newMultiline(indented, func(m *Multiline) { m.Key = value(t, "pod") })
	r := run(t, keyed, `{"pod":"a","message":"1"}`, `{"pod":"b","message":"2"}`, `{"pod":"a","message":" 3"}`, `{"pod":"b","message":" 4"}`, `{"pod":"a","message":"5"}`)
	same(t, "emitted", r.Emitted[""], []string{
		`{"pod":"a","message":"1\n 3"}`, `{"pod":"b","message":"2\n 4"}`, `{"pod":"a","message":"5"}`,
	})
	keyed = newMultiline(indented, func(m *Multiline) { m.Key, m.MaxStreams = value(t, "pod"), 1 })
	r = run(t, keyed, `{"pod":"a","message":"1"}`, `{"pod":"b","message":"2"}`, `{"pod":"a","message":" 3"}`)
	same(t, "with one stream", r.Emitted[""], []string{`{"pod":"a","message":"1"}`, `{"pod":"b","message":"2"}`, `{"pod":"a","message":" 3"}`})
}

// book counts what becomes of messages.
type book struct{ acked, other int }

func (b *book) MessageDone(*pipe.Group, any, pipe.Outcome) {}

func (b *book) GroupDone(g *pipe.Group) {
	acked, nacked, returned := g.Tally()
	b.acked += int(acked)
	b.other += int(nacked + returned)
}

// feed makes a batch of lines of one file.
func feed(b *book, file string, lines ...string) []*pipe.Event {
	var batch pipe.Batch
	batch.Reset(b, "files", 1)
	batch.From(file, 1)
	for i, line := range lines {
		batch.Add(record.FromText([]byte(line)), int64(i+1))
	}
	events, _, _ := batch.Take(time.Now())
	return events
}

// Lines of several files come mixed, in batches of any size, and with pauses. Each
// file's lines come out once, in order, and no event has lines of two files.
func TestMultilineNeverMixesFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for round := range 100 {
			m := newMultiline(indented, func(m *Multiline) {
				m.MaxLines, m.MaxStreams, m.MaxHeld = 1+r.IntN(6), 1+r.IntN(4), 1+r.IntN(12)
			})
			if err := m.Open(t.Context(), openEnv); err != nil {
				t.Fatal(err)
			}
			var b book
			out := pipe.NewOut(1)
			got, next, made := map[byte][]string{}, map[byte]int{}, 0
			take := func() {
				for _, e := range out.Port(0) {
					lines := strings.Split(string(e.Body.AppendText(nil)), "\n")
					if len(lines) > m.MaxLines {
						t.Fatalf("an event of %d lines, limit %d", len(lines), m.MaxLines)
					}
					file := strings.TrimSpace(lines[0])[0]
					for i, line := range lines {
						if strings.TrimSpace(line)[0] != file || i > 0 && line[0] != ' ' {
							t.Fatalf("round %d: mixed: %q", round, lines)
						}
					}
					got[file] = append(got[file], lines...)
				}
				pipe.Settle(out.Port(0), pipe.Delivered)
				out.Reset()
			}
			for range r.IntN(40) {
				file := byte('a' + r.IntN(5))
				var lines []string
				for range 1 + r.IntN(5) {
					next[file]++
					made++
					lines = append(lines, strings.Repeat(" ", r.IntN(2))+fmt.Sprintf("%c%d", file, next[file]))
				}
				in := feed(&b, string(file), lines...)
				if err := m.Process(t.Context(), in, out); err != nil || !out.Complete(len(in)) {
					t.Fatalf("process: %v, %+v", err, out.Counts())
				}
				take()
				if m.held > m.MaxHeld || len(m.open) > m.MaxStreams {
					t.Fatalf("%d lines of %d streams, limits %d and %d", m.held, len(m.open), m.MaxHeld, m.MaxStreams)
				}
				time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
				if err := m.Flush(t.Context(), out, false); err != nil {
					t.Fatal(err)
				}
				if d := m.Deadline(); !d.IsZero() && !d.After(time.Now()) {
					t.Fatalf("the deadline %v has passed", d)
				}
				take()
			}
			if err := m.Flush(t.Context(), out, true); err != nil {
				t.Fatal(err)
			}
			take()
			for file, lines := range got {
				for i, line := range lines {
					if want := fmt.Sprintf("%c%d", file, i+1); strings.TrimSpace(line) != want {
						t.Fatalf("line %d is %q, want %s", i, line, want)
					}
				}
				if len(lines) != next[file] {
					t.Fatalf("%d lines of %d of file %c", len(lines), next[file], file)
				}
			}
			if b.acked != made || b.other != 0 || m.held != 0 || len(m.open) != 0 {
				t.Fatalf("%d of %d lines acked, %d not; %d held in %d streams", b.acked, made, b.other, m.held, len(m.open))
			}
		}
	})
}

// The result of an event counts for all its lines.
func TestMultilineSettlesAllLines(t *testing.T) {
	m, out := newMultiline(indented), pipe.NewOut(1)
	if err := m.Open(t.Context(), openEnv); err != nil {
		t.Fatal(err)
	}
	var b book
	if err := m.Process(t.Context(), feed(&b, "x", "a", " b", " c", "d"), out); err != nil {
		t.Fatal(err)
	}
	if b.acked+b.other != 0 || len(out.Port(0)) != 1 {
		t.Fatalf("%+v, %d events", b, len(out.Port(0)))
	}
	pipe.Settle(out.Port(0), pipe.Failed)
	out.Reset()
	if err := m.Flush(t.Context(), out, true); err != nil {
		t.Fatal(err)
	}
	pipe.Settle(out.Port(0), pipe.Delivered)
	if b.acked != 1 || b.other != 3 {
		t.Errorf("%d lines acked, %d not; want 1 and 3", b.acked, b.other)
	}
}

func TestMultilineInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, out := newMultiline(indented), pipe.NewOut(1)
		if err := m.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		var b book
		step := func(file, line string, wait time.Duration) {
			t.Helper()
			if err := m.Process(t.Context(), feed(&b, file, line), out); err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
			if err := m.Flush(t.Context(), out, false); err != nil {
				t.Fatal(err)
			}
		}
		step("x", "a", 600*time.Millisecond)
		step("y", "b", 300*time.Millisecond)
		step("x", " more", 600*time.Millisecond) // x waits anew
		if n := len(out.Port(0)); n != 0 {
			t.Fatalf("%d events before their time", n)
		}
		step("z", "c", 200*time.Millisecond) // y has waited for 1.1 s
		if n := len(out.Port(0)); n != 1 || string(out.Port(0)[0].Body.AppendText(nil)) != "b" {
			t.Fatalf("%d events, want b", n)
		}
	})
}

func TestMultilineValidate(t *testing.T) {
	refuses(t, newMultiline(), "start", "one of start, continue and indented")
	refuses(t, newMultiline(startsWith(t, "a"), continues(t, "b")), "continue", "not for use with start")
	refuses(t, newMultiline(startsWith(t, "a"), indented), "indented", "not for use with start")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.Field = "a[" }), "field", "")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.MaxLines = 0 }), "max_lines", "at least 1")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.MaxBytes = 0 }), "max_bytes", "at least 1")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.MaxStreams = 0 }), "max_streams", "at least 1")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.MaxHeld = 0 }), "max_held", "at least 1")
	refuses(t, newMultiline(indented, func(m *Multiline) { m.Interval = 0 }), "interval", "above 0")
}

func TestMultilineConforms(t *testing.T) {
	lines := []string{"first", "  second", "third", `{"message":"x","n":1}`, `{"message":"  y"}`}
	pipetest.Stage(t, func() pipe.Stage { return newMultiline(indented) }, lines...)
	pipetest.Stage(t, func() pipe.Stage { return newMultiline(startsWith(t, "^[ft]")) }, lines...)
	pipetest.Stage(t, func() pipe.Stage {
		return newMultiline(indented, func(m *Multiline) { m.MaxHeld, m.MaxLines = 3, 2 })
	}, lines...)
}

// Whatever the lines are, they come out again, once and in order.
func FuzzMultiline(f *testing.F) {
	f.Add("a\n b\nc", uint8(0), uint8(3))
	f.Add("1 x\n\n\ty\n2", uint8(1), uint8(100))
	start, cont := regex(f, `^\d`), regex(f, `^[ \t.]`)
	f.Fuzz(func(t *testing.T, text string, how, limit uint8) {
		m := newMultiline(func(m *Multiline) {
			switch m.MaxLines = 1 + int(limit%7); how % 3 {
			case 0:
				m.Indented = true
			case 1:
				m.Start = start
			default:
				m.Continue = cont
			}
			m.MaxBytes, m.MaxHeld = pipe.Size(1+int(limit)), 1+int(limit/2)
		})
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "{") {
				lines[i] = "x" + line
			}
		}
		r := run(t, m, lines...)
		if got, want := strings.Join(r.Emitted[""], "\n"), strings.Join(lines, "\n"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
