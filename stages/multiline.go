package stages

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("multiline", func() pipe.Stage {
		return &Multiline{
			Field: "message", Separator: "\n", MaxLines: 500, MaxBytes: 1 << 20,
			Interval: pipe.Duration(time.Second), MaxStreams: 1000, MaxHeld: 10_000,
		}
	})
}

// Multiline joins the lines of a stack trace or another entry of several lines
// into one event. The lines it came from are settled with its result, so a crash
// loses none of what is being collected: the source reads it again. A read
// that begins in the middle of an entry makes an event of the rest of it.
//
//	stages:
//	  entries: {type: multiline, start: '^\d{4}-\d{2}-\d{2} '}
//	  traces:  {type: multiline, indented: true, continue: '^Caused by:'}
//
// Lines of different sources, files or connections never mix, whatever order they
// come in; where one of those carries several streams, see key. Each stream keeps
// its order. Other fields and the metadata are those of the first line.
//
// An entry ends when its stream's next one begins, after interval, when it has
// max_lines or would have more than max_bytes, when a stream or a line too many is
// held, and when the pipeline ends. If more of its lines follow they make another
// event: nothing is cut off. A line that is alone stays as it came. An event
// without the field, or with one that is not a text, fails.
//
// A source whose max_in_flight is smaller than an entry is waited for until interval.
//
// Example:
//
//	type: multiline
//	start: '^\d{4}-\d{2}-\d{2} '
type Multiline struct {
	// Start is a regular expression (RE2) for the first line of an entry; all others
	// belong to it.
	Start Regexp `yaml:"start"`

	// Continue is a regular expression (RE2) for lines that belong to the entry before
	// them; all others begin one. It goes together with indented, not with start.
	Continue Regexp `yaml:"continue"`

	// Indented says that a line that begins with a space or a tab belongs to the entry
	// before it.
	Indented bool `yaml:"indented"`

	// Field is the path of the line, message by default.
	Field string `yaml:"field"`

	// Key is an expression that tells apart the streams that come over one
	// connection or file, such as pod or host + "/" + program. By default there is
	// one stream in each.
	Key expr.Value `yaml:"key"`

	// Separator stands between the lines of an entry; a line break by default.
	Separator string `yaml:"separator"`

	// MaxLines is the most lines of an event, 500 by default.
	MaxLines int `yaml:"max_lines" min:"1" max:"100000"`

	// MaxBytes is the most text of an event, 1MiB by default and never more than
	// limits.max_event_bytes. A single line may have more.
	MaxBytes pipe.Size `yaml:"max_bytes" min:"1B"`

	// Interval is how long an entry waits for its next line, 1s by default. Raise it
	// for programs that pause in the middle of an entry.
	Interval pipe.Duration `yaml:"interval" above:"0s"`

	// MaxStreams is how many streams may have an unfinished entry, 1000 by
	// default. One more ends the entry that has waited longest.
	MaxStreams int `yaml:"max_streams" min:"1" max:"1000000"`

	// MaxHeld is how many lines may be held in all streams together, 10,000 by
	// default. One more ends the entry that has waited longest.
	MaxHeld int `yaml:"max_held" min:"1" max:"10000000"`

	path  *record.Path
	limit int
	held  int // lines of all entries
	open  map[streamKey]*entry
	list  entry    // of the open entries, the one that has waited longest first
	fresh []*entry // with lines of the present batch
	free  []*entry
	line  []byte // for a JSON string with escapes
}

// streamKey is what lines must have in common to be of one entry.
type streamKey struct{ source, partition, key string }

// entry is an event that is being collected.
type entry struct {
	stream     streamKey
	lines      []*pipe.Event
	moved      int    // lines in memory of their own; the others are of the present batch
	text       []byte // joined; nil while there is one line, still in its event
	bytes      int    // of the text, or of the only line
	fresh      bool   // is in Multiline.fresh
	deadline   time.Time
	prev, next *entry
}

// Validate checks the patterns and the limits.
func (m *Multiline) Validate() error {
	var errs []error
	switch {
	case m.Start.IsZero() && m.Continue.IsZero() && !m.Indented:
		errs = append(errs, fieldError("start", `such as start: '^\d{4}-', continue: '^Caused by:' or indented: true`, "one of start, continue and indented is required"))
	case !m.Start.IsZero() && !m.Continue.IsZero():
		errs = append(errs, fieldError("continue", "", "is not for use with start, which decides about all lines"))
	case !m.Start.IsZero() && m.Indented:
		errs = append(errs, fieldError("indented", "", "is not for use with start, which decides about all lines"))
	}
	if _, err := record.ParsePath(m.Field); err != nil {
		errs = append(errs, &pipe.FieldError{Field: "field", Err: err})
	}
	atLeastOne := func(field string, n int) {
		if n < 1 {
			errs = append(errs, fieldError(field, "", "must be at least 1, got %d", n))
		}
	}
	atLeastOne("max_lines", m.MaxLines)
	atLeastOne("max_bytes", int(m.MaxBytes))
	atLeastOne("max_streams", m.MaxStreams)
	atLeastOne("max_held", m.MaxHeld)
	if m.Interval <= 0 {
		errs = append(errs, fieldError("interval", "such as 1s", "must be above 0, or the last entry could wait for ever"))
	}
	return errors.Join(errs...)
}

// Open prepares the streams.
func (m *Multiline) Open(_ context.Context, env pipe.Env) (err error) {
	if m.path, err = record.ParsePath(m.Field); err != nil {
		return fmt.Errorf("field: %w", err)
	}
	m.limit = int(min(m.MaxBytes, pipe.Size(cmp.Or(env.MaxEventBytes, 1<<30))))
	m.open = map[streamKey]*entry{}
	m.list.prev, m.list.next = &m.list, &m.list
	return nil
}

// Timely says that an entry waits for its next line, not for a number of lines.
func (m *Multiline) Timely() {}

// Capacity returns the most lines held.
func (m *Multiline) Capacity() int { return m.MaxHeld }

// Deadline returns when the entry that has waited longest must go.
func (m *Multiline) Deadline() time.Time {
	if m.held == 0 {
		return time.Time{}
	}
	return m.list.next.deadline
}

// Process adds each line to the entry of its stream, and hands on those that
// are complete.
func (m *Multiline) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	due := time.Now().Add(m.Interval.D())
	for _, e := range in {
		if err := m.add(e, due, out); err != nil {
			out.Fail(e, poison(err))
		}
	}
	m.keep()
	return nil
}

// Flush hands on the entries whose time has come.
func (m *Multiline) Flush(_ context.Context, out *pipe.Out, final bool) error {
	now := time.Now()
	for m.held > 0 && (final || !now.Before(m.list.next.deadline)) {
		m.end(m.list.next, out)
	}
	return nil
}

// add puts a line where it belongs.
func (m *Multiline) add(e *pipe.Event, due time.Time, out *pipe.Out) error {
	v := e.Body.Get(m.path)
	switch v.Kind() {
	case record.KindString:
	case record.KindMissing:
		return fmt.Errorf("there is no field %s", m.Field)
	default:
		return fmt.Errorf("field %s is not a text", m.Field)
	}
	if !e.Body.IsText() {
		m.line = slices.Grow(m.line[:0], e.Body.Size())
	}
	line := v.Bytes(m.line)
	stream := streamKey{source: e.Source(), partition: e.Partition()}
	if !m.Key.IsZero() {
		key, err := m.Key.Eval(e, &out.Arena)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		stream.key = string(key.Bytes(nil))
	}
	g := m.open[stream]
	if g != nil && !(m.continues(line) && len(g.lines) < m.MaxLines && g.bytes+len(m.Separator)+len(line) <= m.limit) {
		m.hand(g, out)
	}
	for m.held >= m.MaxHeld || g == nil && len(m.open) >= m.MaxStreams {
		oldest := m.list.next
		m.end(oldest, out)
		if oldest == g {
			g = nil
		}
	}
	switch {
	case g == nil:
		g = m.entry(stream)
	case len(g.lines) > 0:
		m.join(g, line)
		g.unlink()
	}
	out.Hold(e)
	m.link(g, e, due)
	g.bytes = max(g.bytes, len(line))
	return nil
}

// entry opens an entry of a stream that has none.
func (m *Multiline) entry(stream streamKey) *entry {
	g := &entry{}
	if last := len(m.free) - 1; last >= 0 {
		g, m.free = m.free[last], m.free[:last]
	}
	g.stream = stream
	m.open[stream] = g
	return g
}

// continues reports whether a line belongs to the entry before it.
func (m *Multiline) continues(line []byte) bool {
	switch {
	case m.Start.re != nil:
		return !m.Start.re.Match(line)
	case m.Indented && len(line) > 0 && (line[0] == ' ' || line[0] == '\t'):
		return true
	}
	return m.Continue.re != nil && m.Continue.re.Match(line)
}

// join appends a line to the text of g.
func (m *Multiline) join(g *entry, line []byte) {
	if g.text == nil {
		v := g.lines[0].Body.Get(m.path)
		first := v.Bytes(nil)
		g.text = append(make([]byte, 0, 4*(len(first)+len(line))), first...)
	}
	g.text = append(append(g.text, m.Separator...), line...)
	g.bytes = len(g.text)
}

// link makes e the last line of g, and g the entry that has waited least.
func (m *Multiline) link(g *entry, e *pipe.Event, due time.Time) {
	g.lines = append(g.lines, e)
	g.deadline = due
	m.held++
	g.prev, g.next = m.list.prev, &m.list
	g.prev.next, g.next.prev = g, g
	if !g.fresh {
		g.fresh = true
		m.fresh = append(m.fresh, g)
	}
}

func (g *entry) unlink() { g.prev.next, g.next.prev = g.next, g.prev }

// keep moves the lines that are left of a batch to memory of their own, so that
// they do not pin its read buffer.
func (m *Multiline) keep() {
	for _, g := range m.fresh {
		g.fresh = false
		for i := g.moved; i < len(g.lines); i++ {
			e := g.lines[i]
			switch {
			case i > 0: // its line is in the text
				e.Body = record.Body{}
			case e.Body.IsText():
				if g.text == nil {
					g.text = bytes.Clone(e.Body.AppendText(nil))
				}
				e.Body = record.FromText(nil)
			default:
				e.Body = e.Body.Detach()
			}
		}
		g.moved = len(g.lines)
	}
	clear(m.fresh)
	m.fresh = m.fresh[:0]
}

// end hands on the entry g, and its stream has none.
func (m *Multiline) end(g *entry, out *pipe.Out) {
	m.hand(g, out)
	delete(m.open, g.stream)
	if len(m.free) < 64 {
		m.free = append(m.free, g)
	}
}

// hand hands on what g has, and leaves it without lines.
func (m *Multiline) hand(g *entry, out *pipe.Out) {
	g.unlink()
	m.held -= len(g.lines)
	first := g.lines[0]
	text, moved, lines := g.text, g.moved, g.lines
	g.text, g.moved, g.bytes = nil, 0, 0
	if len(lines) == 1 {
		lines[0], g.lines = nil, lines[:0]
		if moved > 0 && first.Body.IsText() {
			first.Body = record.FromText(text)
		}
		out.Emit(out.Release(first))
		return
	}
	g.lines = nil
	body := record.FromText(text)
	if !first.Body.IsText() {
		body = first.Body
		if err := body.Set(&out.Arena, m.path, record.Text(text)); err != nil {
			panic("BUG: multiline: " + err.Error())
		}
	}
	out.Merge(lines, body)
}
