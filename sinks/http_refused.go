package sinks

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Some servers refuse a whole batch for one event in it. Then the batch is sent in
// parts, until the events at fault are alone and all others are there.

// maxRefusals is how many refusals of one batch are looked into. What is left of it
// then fails together: a mistake that is in every event takes no more requests.
const maxRefusals = 100

// refused is the error of a batch that the server does not take for what is in it.
type refused struct {
	err error
	at  int // the event that the server names, in the order they were sent; -1 for none
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// attempt sends events. bad are those that failed for themselves; err is about all
// the others, of which none counts as delivered.
type attempt func(ctx context.Context, in []*pipe.Event) (bad []pipe.ItemError, err error)

// delivery is one batch on its way.
type delivery struct {
	send     attempt
	in       []*pipe.Event
	failed   []pipe.ItemError
	refusals int
	over     error // why no further part is tried
	whole    bool  // over is of the batch as a whole
}

// deliver sends in, and where it is refused, the parts of it. It returns what
// Sink.Write must.
func deliver(ctx context.Context, in []*pipe.Event, send attempt) error {
	if len(in) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	d := &delivery{send: send, in: in}
	all := make([]int, len(in))
	for i := range all {
		all[i] = i
	}
	d.part(ctx, all)
	switch {
	case len(d.failed) == 0:
		return nil
	case d.whole:
		return d.over
	}
	slices.SortFunc(d.failed, func(a, b pipe.ItemError) int { return cmp.Compare(a.Index, b.Index) })
	return &pipe.PartialError{Items: d.failed}
}

// part sends the events with these indexes.
func (d *delivery) part(ctx context.Context, index []int) {
	if len(index) == 0 {
		return
	}
	if d.over != nil {
		d.fail(index, d.over)
		return
	}
	events := make([]*pipe.Event, len(index))
	for i, at := range index {
		events[i] = d.in[at]
	}
	bad, err := d.send(ctx, events)
	rest := index
	if len(bad) > 0 {
		if err != nil {
			rest = slices.Clone(index)
		}
		for _, it := range slices.Backward(bad) {
			d.failed = append(d.failed, pipe.ItemError{Index: index[it.Index], Err: it.Err})
			if err != nil {
				rest = slices.Delete(rest, it.Index, it.Index+1)
			}
		}
	}
	if err == nil {
		return
	}
	var r *refused
	switch {
	case !errors.As(err, &r):
		d.over, d.whole = err, len(rest) == len(d.in) // it is the far side's, and so for all that is left
		d.fail(rest, err)
	case len(rest) == 1:
		d.fail(rest, pipe.Classed(pipe.Poison, r.err))
	case d.refusals == maxRefusals:
		d.over = r.err
		d.fail(rest, r.err)
	default:
		d.refusals++
		d.split(ctx, rest, r.at)
	}
}

// split sends a refused part in two: the event that the server names, which so
// shows whether it is at fault, and the others; or halves.
func (d *delivery) split(ctx context.Context, index []int, at int) {
	if at < 0 || at >= len(index) {
		d.part(ctx, index[:len(index)/2])
		d.part(ctx, index[len(index)/2:])
		return
	}
	d.part(ctx, index[at:at+1])
	d.part(ctx, slices.Concat(index[:at], index[at+1:]))
}

func (d *delivery) fail(index []int, err error) {
	for _, i := range index {
		d.failed = append(d.failed, pipe.ItemError{Index: i, Err: err})
	}
}
