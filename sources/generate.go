package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterSource("generate", func() pipe.Source { return &Generate{} })
}

// Generate makes events up, for tests, examples and load.
//
// What it makes cannot be read again: after a restart it begins anew, with the
// same events if seed is set.
//
// Example:
//
//	type: generate
//	rate: 1000/s
//	count: 10000
//	event:
//	  id: seq
//	  user: rand_int(1, 500)
type Generate struct {
	// Rate is how many events there are per second: 1000/s, 30/m, or a mapping with
	// a curve. Without it they come as fast as they are taken. When the pipeline is
	// full, or the machine busy, for more than 10ms, events are skipped; they are
	// never made up for by a burst. The first event comes at once.
	Rate Pace `yaml:"rate"`

	// Count is how many events to make before it ends; 0, the default, is no end.
	Count int64 `yaml:"count" min:"0"`

	// Event are the fields of an event, by path, with an expression for each, which
	// knows seq (0 for the first event), now(), rand(), rand_int(lo, hi), pick(list),
	// uuid(), format(text, ...) and hex(n). Without it an event has seq and time.
	Event pipe.OrderedMap[expr.Template] `yaml:"event"`

	// Seed makes random values the same in every run. 0, the default, takes another
	// one each time, which is logged.
	Seed uint64 `yaml:"seed"`

	pacer    pacer
	began    atomic.Int64 // when it was opened, in ns; for RateLimit
	waits    *pipe.Clock  // for the next event
	env      *expr.GenEnv
	fields   []generatedField
	log      *slog.Logger
	maxEvent int
	made     atomic.Int64
	closed   bool
	stamp    []byte
}

// generatedField is one entry of Event.
type generatedField struct {
	key   string
	path  *record.Path
	fresh bool // a top-level member of its own
	value expr.Template
}

// most events per Read.
const generateBatch = 1024

// Validate checks the fields.
func (g *Generate) Validate() error {
	var errs []error
	if g.Count < 0 {
		errs = append(errs, pipe.Fieldf("count", "must not be negative, got %d", g.Count))
	}
	if err := g.Rate.Validate(); err != nil {
		errs = append(errs, below("rate", err)...)
	}
	var trial pipe.Batch
	body := record.NewObject(&trial.Arena, len(g.Event))
	for _, e := range g.Event {
		path, err := record.ParsePath(e.Key)
		if err == nil && body.Get(path).Exists() {
			err = errors.New("another entry makes this field already")
		}
		if err == nil {
			err = body.Set(&trial.Arena, path, record.Bool(true))
		}
		if err != nil {
			errs = append(errs, &pipe.FieldError{Field: "event." + e.Key, Err: err})
		}
	}
	return errors.Join(errs...)
}

// below puts the field errors of a nested value below its name.
func below(name string, err error) (errs []error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range all.Unwrap() {
			errs = append(errs, below(name, e)...)
		}
		return errs
	}
	var fe *pipe.FieldError
	if errors.As(err, &fe) {
		return []error{&pipe.FieldError{Field: name + "." + fe.Field, Err: fe.Err, Hint: fe.Hint}}
	}
	return []error{&pipe.FieldError{Field: name, Err: err}}
}

// Traits implements pipe.Traiter.
func (g *Generate) Traits() pipe.Traits {
	return pipe.Traits{Finite: g.Count > 0, Total: g.Count, Why: "what generate made up is not kept"}
}

// Open starts the clock.
func (g *Generate) Open(_ context.Context, env pipe.Env) error {
	g.log, g.maxEvent = env.Log, env.MaxEventBytes
	if env.Meter != nil {
		g.waits = &env.Meter.Throttled
	}
	seed := g.Seed
	if seed == 0 && len(g.Event) > 0 {
		seed = rand.Uint64()
		g.log.Info("random values follow from this seed", "seed", seed)
	}
	g.env = expr.NewGenEnv(seed)
	roots := map[string]int{}
	for _, e := range g.Event {
		path, err := record.ParsePath(e.Key)
		if err != nil {
			return &pipe.FieldError{Field: "event." + e.Key, Err: err}
		}
		roots[path.Root()]++
		g.fields = append(g.fields, generatedField{key: e.Key, path: path, value: e.Value})
	}
	for i := range g.fields {
		f := &g.fields[i]
		f.fresh = f.path.IsTop() && roots[f.path.Root()] == 1
	}
	g.pacer = pacer{pace: g.Rate, start: time.Now()}
	g.began.Store(time.Now().UnixNano())
	return nil
}

// Read implements pipe.Source.
func (g *Generate) Read(ctx context.Context, b *pipe.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := g.Count - g.made.Load()
		if g.closed || g.Count > 0 && left <= 0 {
			return io.EOF
		}
		if g.Count == 0 {
			left = generateBatch
		}
		n, wait := g.pacer.take(time.Now(), min(left, generateBatch))
		if n > 0 {
			return g.make(b, n)
		}
		if err := g.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// sleep waits, and returns the context's error when that ends first.
func (g *Generate) sleep(ctx context.Context, d time.Duration) error {
	defer g.waits.Leave(g.waits.Enter())
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (g *Generate) make(b *pipe.Batch, n int64) error {
	if len(g.fields) == 0 {
		g.stamp = time.Now().UTC().AppendFormat(nil, time.RFC3339Nano)
	}
	for range n {
		g.env.Seq = g.made.Load()
		body, err := g.body(&b.Arena)
		if err != nil {
			return err
		}
		if body.Size() > g.maxEvent {
			return fmt.Errorf("event: event %d is larger than limits.max_event_bytes (%s)", g.env.Seq, pipe.Size(g.maxEvent))
		}
		b.Add(body, g.made.Add(1))
	}
	return nil
}

func (g *Generate) body(a *record.Arena) (record.Body, error) {
	if len(g.fields) == 0 {
		body := record.NewObject(a, 2)
		body.Add(a, "seq", record.Int(g.env.Seq, a))
		body.Add(a, "time", record.Text(g.stamp))
		return body, nil
	}
	body := record.NewObject(a, len(g.fields))
	for i := range g.fields {
		f := &g.fields[i]
		v, err := f.value.Eval(g.env, a)
		switch {
		case err != nil:
		case f.fresh:
			body.Add(a, f.path.Root(), v)
		default:
			err = body.Set(a, f.path, v)
		}
		if err != nil {
			return body, fmt.Errorf("event.%s: event %d: %w", f.key, g.env.Seq, err)
		}
	}
	return body, nil
}

// Progress implements pipe.Progresser, in events.
func (g *Generate) Progress() (done, total int64) { return g.made.Load(), g.Count }

// Close says how many events were skipped.
func (g *Generate) Close(context.Context) error {
	g.closed = true
	if n := g.pacer.skipped; n > 0 {
		g.log.Info("events were skipped because they were not taken in time", "skipped", n, "made", g.made.Load())
	}
	return nil
}

// RateLimit returns how many events a second the rate asks for now; 0 when it
// sets no limit.
func (g *Generate) RateLimit() float64 {
	began := g.began.Load()
	if g.Rate.unlimited() || began == 0 {
		return 0
	}
	now := time.Duration(time.Now().UnixNano() - began)
	return g.Rate.due(now+time.Second) - g.Rate.due(now)
}
