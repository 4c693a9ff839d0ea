package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("batch", func() pipe.Stage {
		return &Batch{Events: 100, Bytes: 1 << 20, Interval: pipe.Duration(time.Second), Into: "events"}
	})
}

// Batch folds events into one event that holds them all: {"events": [...],
// "count": 3}. It hands one on when any of its limits is reached, and when the
// pipeline ends. The events it came from are settled with its result, so a
// crash loses none of what is collected: the source reads it again. (To write in
// batches without changing the events, set batch on the sink instead.)
//
//	stages:
//	  collect: {type: batch, events: 500, bytes: 256KiB, interval: 2s}
//
// Metadata is that of the first event. A source whose max_in_flight is smaller
// than events is waited for until interval.
//
// Example:
//
//	type: batch
//	events: 500
//	interval: 2s
//	into: orders
type Batch struct {
	// Events is how many events make a batch, 1 to 1,000,000; 100 by default.
	Events int `yaml:"events" min:"1" max:"1000000"`

	// Bytes is how much JSON makes a batch, 1MiB by default and never more than
	// limits.max_event_bytes allows. An event goes to the next batch if it does
	// not fit; one that is larger on its own makes a batch of one.
	Bytes pipe.Size `yaml:"bytes" min:"1"`

	// Interval is how long the first event of a batch waits for others, 1s by
	// default. Lower it where freshness counts more than size.
	Interval pipe.Duration `yaml:"interval" above:"0s"`

	// Into names the field with the array of events, "events" by default.
	Into string `yaml:"into"`

	limit    int // of JSON: bytes, or less
	most     int // of JSON that one event may have
	held     []*pipe.Event
	json     []byte // of the held events, a comma before each
	deadline time.Time
}

// Validate checks the limits.
func (b *Batch) Validate() error {
	var errs []error
	if b.Events < 1 || b.Events > 1_000_000 {
		errs = append(errs, fieldError("events", "", "must be 1 to 1000000, got %d", b.Events))
	}
	if b.Bytes < 1 {
		errs = append(errs, fieldError("bytes", "such as 256KiB", "must be at least 1B"))
	}
	if b.Interval <= 0 {
		errs = append(errs, fieldError("interval", "for rare batches write 1h", "must be above 0, or an unfinished batch could wait for ever"))
	}
	if b.Into == "" || b.Into == "count" {
		errs = append(errs, fieldError("into", "such as events", "must be the name of a field, other than count"))
	}
	return errors.Join(errs...)
}

// Open bounds the batches by the largest event that is allowed.
func (b *Batch) Open(_ context.Context, env pipe.Env) error {
	around := len(record.AppendQuoted(nil, []byte(b.Into))) + len(`{:[],"count":1000000}`)
	b.most = max(1, cmp.Or(env.MaxEventBytes, 1<<30)-around)
	b.limit = int(min(b.Bytes, pipe.Size(b.most)))
	if pipe.Size(b.limit) < b.Bytes {
		env.Log.Warn("batches stay below limits.max_event_bytes", "bytes", int64(b.Bytes), "max_event_bytes", env.MaxEventBytes)
	}
	return nil
}

// Capacity returns the most events held.
func (b *Batch) Capacity() int { return b.Events }

// Deadline returns when the batch that is being collected must go.
func (b *Batch) Deadline() time.Time { return b.deadline }

// Process adds each event and hands on the batches that are full.
func (b *Batch) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	for _, e := range in {
		before := len(b.json)
		b.json = e.Body.AppendJSON(append(b.json, ','))
		if n := len(b.json) - before - 1; n > b.most {
			b.json = b.json[:before]
			out.Fail(e, poison(fmt.Errorf("the event has %d bytes as JSON, in a batch limits.max_event_bytes leaves room for %d", n, b.most)))
			continue
		}
		if len(b.held) > 0 && len(b.json)-1 > b.limit {
			own := b.json[before:]
			b.json = b.json[:before]
			b.flush(out) // a ] is now in place of own's comma, where a [ will be
			b.json = append(b.json, own...)
		}
		b.hold(e, out)
	}
	return nil
}

// hold keeps an event whose JSON has been added.
func (b *Batch) hold(e *pipe.Event, out *pipe.Out) {
	out.Hold(e)
	if b.held == nil {
		b.held = make([]*pipe.Event, 0, min(b.Events, 256))
		b.deadline = time.Now().Add(b.Interval.D())
	}
	e.Body = record.Body{} // its JSON is all that is needed; let go of the read buffer
	b.held = append(b.held, e)
	if len(b.held) == b.Events || len(b.json)-1 >= b.limit {
		b.flush(out)
	}
}

// Flush hands on the unfinished batch when its time has come.
func (b *Batch) Flush(_ context.Context, out *pipe.Out, final bool) error {
	if final || !b.deadline.IsZero() && !time.Now().Before(b.deadline) {
		b.flush(out)
	}
	return nil
}

func (b *Batch) flush(out *pipe.Out) {
	if len(b.held) == 0 {
		return
	}
	b.json[0] = '[' // in place of the first comma
	list := append(b.json, ']')
	body := record.NewObject(&out.Arena, 2)
	body.Add(&out.Arena, b.Into, record.RawJSON(list))
	body.Add(&out.Arena, "count", record.Int(int64(len(b.held)), &out.Arena))
	out.Merge(b.held, body)
	b.json = make([]byte, 0, len(b.json)+len(b.json)/8)
	b.held, b.deadline = nil, time.Time{}
}
