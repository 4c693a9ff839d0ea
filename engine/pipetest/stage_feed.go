package pipetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Feed is a batch of events as a source would have made them, with an account
// of what becomes of them.
type Feed struct {
	Events []*pipe.Event

	batch  pipe.Batch
	ledger *pipe.Ledger
	raw    [][]byte // what the bodies alias
	before []string // what raw was
}

// NewFeed makes one event of each sample, at the positions 1, 2 and so on. A
// sample that begins with { is a JSON object, any other is a line of text.
func NewFeed(samples ...string) (*Feed, error) {
	f := &Feed{ledger: pipe.NewLedger(pipe.Window{}, nil), before: samples}
	f.batch.Reset(f.ledger, "feed", 1)
	f.batch.From("samples", 1)
	for i, s := range samples {
		raw := []byte(s)
		body := record.FromText(raw)
		if strings.HasPrefix(s, "{") {
			var err error
			if body, err = record.FromJSON(raw, &f.batch.Arena); err != nil {
				return nil, fmt.Errorf("sample %d is not a JSON object: %w", i, err)
			}
		}
		f.raw = append(f.raw, raw)
		f.batch.Add(body, int64(i)+1)
	}
	events, _, g := f.batch.Take(time.Now())
	f.ledger.Count(g)
	pipe.SettleEmpty(g)
	f.Events = append(f.Events, events...)
	return f, nil
}

// Check reports whether every event was settled, once, and none of the bytes
// they came in were written to.
func (f *Feed) Check() error {
	if t := f.ledger.Tally(); t.OpenEvents != 0 || t.Acked+t.Nacked+t.Returned != t.Read {
		return fmt.Errorf("of %d events %d are still open, %d were acked and %d nacked", t.Read, t.OpenEvents, t.Acked, t.Nacked)
	}
	return f.checkBytes()
}

func (f *Feed) checkBytes() error {
	for i, raw := range f.raw {
		if !bytes.Equal(raw, []byte(f.before[i])) {
			return fmt.Errorf("the bytes of input %d were written to: %s is now %s", i, short(f.before[i]), short(string(raw)))
		}
	}
	return nil
}

// StageResult is what a stage made of some events, in order, rendered as the
// JSON of an object or the line of a text.
type StageResult struct {
	Emitted  map[string][]string // by port; the main output is ""
	Filtered []string
	Failed   []string
	Errors   []error // why, one for each of Failed
	Counts   pipe.Counts
}

// RunStage runs a stage as the engine would, from Validate to Close, over one
// event of each sample (see NewFeed), and checks that it keeps its contract.
func RunStage(s pipe.Stage, samples ...string) (StageResult, error) {
	f, err := NewFeed(samples...)
	if err != nil {
		return StageResult{}, err
	}
	r, err := openStage(s)
	if err != nil {
		return StageResult{}, err
	}
	err = r.process(context.Background(), f.Events, len(f.Events))
	err = errors.Join(err, r.finish())
	return r.result, errors.Join(err, f.Check())
}

// stageRun is a stage between Open and Close.
type stageRun struct {
	stage  pipe.Stage
	ports  []string
	out    *pipe.Out
	result StageResult
	origin map[int64]string // what each event looked like, by position
	sent   []sentEvent
	last   map[string]int64 // the last position that came out of each exit
}

type sentEvent struct {
	event *pipe.Event
	as    string
}

func openStage(s pipe.Stage) (*stageRun, error) {
	if v, ok := s.(pipe.Validator); ok {
		if err := v.Validate(); err != nil {
			return nil, fmt.Errorf("validate: %w", err)
		}
	}
	if o, ok := s.(pipe.Opener); ok {
		env := pipe.Env{Node: "stage", Pipeline: "test", Log: slog.New(slog.DiscardHandler), MaxEventBytes: 8 << 20}
		if err := o.Open(context.Background(), env); err != nil {
			return nil, fmt.Errorf("open: %w", err)
		}
	}
	r := &stageRun{stage: s, ports: []string{""}}
	if router, ok := s.(pipe.Router); ok {
		r.ports = nil
		for _, p := range router.Ports() {
			r.ports = append(r.ports, p.Name)
		}
	}
	r.reset()
	return r, nil
}

// reset forgets what came out, not what the stage holds.
func (r *stageRun) reset() {
	r.out = pipe.NewOut(len(r.ports))
	r.result = StageResult{Emitted: map[string][]string{}}
	r.origin, r.sent, r.last = map[int64]string{}, nil, map[string]int64{}
}

// fork returns a run of the same open stage with results of its own, as another
// worker would have.
func (r *stageRun) fork() *stageRun {
	c := &stageRun{stage: r.stage, ports: r.ports}
	c.reset()
	return c
}

// process gives the events to the stage, at most n at once.
func (r *stageRun) process(ctx context.Context, events []*pipe.Event, n int) error {
	if p, ok := r.stage.(pipe.Paced); ok {
		n = min(n, p.MaxBatch())
	}
	for len(events) > 0 {
		in := events[:min(max(n, 1), len(events))]
		events = events[len(in):]
		for _, e := range in {
			r.origin[e.Position()] = render(e)
		}
		err := r.stage.Process(ctx, in, r.out)
		if left := r.out.Undecided(nil, in); err != nil || len(left) > 0 {
			r.out.FailUndecided(in, errors.New("stage gave no outcome"))
			return errors.Join(fmt.Errorf("process: %d events were left without a decision, error: %w", len(left), orNone(err)), r.take())
		}
		if err := r.take(); err != nil {
			return err
		}
	}
	return nil
}

var errNone = errors.New("none")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// take moves the decisions of one step out of the Out and settles them.
func (r *stageRun) take() error {
	r.out.Enter()
	c := r.out.Counts()
	r.addCounts(c)
	var errs []error
	if c.Double != 0 {
		errs = append(errs, fmt.Errorf("%d events got a second decision", c.Double))
	}
	for i, port := range r.ports {
		events := r.out.Port(i)
		for _, e := range events {
			text := render(e)
			r.result.Emitted[port] = append(r.result.Emitted[port], text)
			r.sent = append(r.sent, sentEvent{e, text})
			errs = append(errs, r.inOrder("port "+port, e))
		}
		pipe.Settle(events, pipe.Delivered)
	}
	for _, e := range r.out.Filtered() {
		r.result.Filtered = append(r.result.Filtered, render(e))
		errs = append(errs, r.inOrder("filtered", e))
	}
	pipe.Settle(r.out.Filtered(), pipe.Filtered)
	for _, f := range r.out.Failed() {
		errs = append(errs, r.inOrder("failed", f.Event), r.fail(f))
		pipe.Settle([]*pipe.Event{f.Event}, pipe.Failed)
	}
	r.out.Reset()
	return errors.Join(errs...)
}

func (r *stageRun) fail(f pipe.Failure) error {
	text := render(f.Event)
	r.result.Failed = append(r.result.Failed, text)
	r.result.Errors = append(r.result.Errors, f.Err)
	if was := r.origin[f.Event.Position()]; text != was {
		return fmt.Errorf("an event failed (%w) with a changed body: %s was %s", f.Err, short(text), short(was))
	}
	return nil
}

func (r *stageRun) inOrder(exit string, e *pipe.Event) error {
	pos := e.Position()
	if last := r.last[exit]; pos < last {
		return fmt.Errorf("%s: event %d came after event %d", exit, pos, last)
	}
	r.last[exit] = pos
	return nil
}

func (r *stageRun) addCounts(c pipe.Counts) {
	t := &r.result.Counts
	t.Unrouted += c.Unrouted
	t.Created += c.Created
	t.Merged += c.Merged
	t.Held += c.Held
	t.Released += c.Released
	t.Double += c.Double
}

// held returns how many events the stage keeps.
func (r *stageRun) held() int64 { return r.result.Counts.Held - r.result.Counts.Released }

// flush asks a Holder for what is due.
func (r *stageRun) flush(final bool) error {
	h, ok := r.stage.(pipe.Holder)
	if !ok {
		return nil
	}
	err := h.Flush(context.Background(), r.out, final)
	return errors.Join(err, r.take())
}

// finish ends the stage and looks at everything that came out once more.
func (r *stageRun) finish() error {
	err := r.flush(true)
	if n := r.held(); n != 0 {
		err = errors.Join(err, fmt.Errorf("%d events are still held after the final flush", n))
	}
	if c, ok := r.stage.(pipe.Closer); ok {
		err = errors.Join(err, c.Close(context.Background()))
	}
	return errors.Join(err, r.unchanged())
}

// unchanged reports whether what was emitted still reads as it did then.
func (r *stageRun) unchanged() error {
	for _, s := range r.sent {
		if now := render(s.event); now != s.as {
			return fmt.Errorf("an emitted event changed later: %s was %s", short(now), short(s.as))
		}
	}
	return nil
}

// render is what a sink would write of the event.
func render(e *pipe.Event) string {
	if e.Body.IsText() {
		return string(e.Body.AppendText(nil))
	}
	return string(e.Body.AppendJSON(nil))
}

func short(s string) string {
	if len(s) > 120 {
		return fmt.Sprintf("%q... (%d bytes)", s[:120], len(s))
	}
	return fmt.Sprintf("%q", s)
}
