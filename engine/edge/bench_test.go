package edge

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// queue is what the benchmark needs of an edge, or of a channel of events.
type queue interface {
	Send(ctx context.Context, events []*pipe.Event) (int, error)
	Recv(ctx context.Context, dst []*pipe.Event) (int, error)
	Close()
}

// channel is the plain Go answer to the same question, as the reference.
type channel chan *pipe.Event

func (c channel) Send(ctx context.Context, events []*pipe.Event) (int, error) {
	for i, e := range events {
		select {
		case c <- e:
		default:
			select {
			case c <- e:
			case <-ctx.Done():
				return i, ctx.Err()
			}
		}
	}
	return len(events), nil
}

func (c channel) Recv(ctx context.Context, dst []*pipe.Event) (int, error) {
	select {
	case e, ok := <-c:
		if !ok {
			return 0, ErrClosed
		}
		dst[0] = e
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for n := 1; n < len(dst); n++ {
		select {
		case e, ok := <-c:
			if !ok {
				return n, nil
			}
			dst[n] = e
		default:
			return n, nil
		}
	}
	return len(dst), nil
}

func (c channel) Close() { close(c) }

const benchEvents = 4096

// BenchmarkEdge moves events from producers to one consumer, through an edge and
// through a plain channel of events. A benchmark's unit is one event.
func BenchmarkEdge(b *testing.B) {
	block := Settings{Events: benchEvents, Policy: Block}
	bytes := Settings{Events: benchEvents, Bytes: benchEvents * 256, Policy: Block}
	kinds := []struct {
		name string
		make func() queue
	}{
		{"chan", func() queue { return make(channel, benchEvents) }},
		{"block", func() queue { return New("bench", block, Options{}) }},
		{"bytes", func() queue { return New("bench", bytes, Options{}) }},
		{"inbox1", func() queue {
			q := New("bench", block, Options{})
			return inboxed{q, NewInbox(q)}
		}},
	}
	for _, producers := range []int{1, 4} {
		for _, batch := range []int{1, 16, 128, 1024} {
			for _, k := range kinds {
				b.Run(fmt.Sprintf("p%d/batch%d/%s", producers, batch, k.name), func(b *testing.B) {
					pump(b, k.make(), batch, producers)
				})
			}
		}
	}
}

type inboxed struct {
	*Edge
	in *Inbox
}

func (q inboxed) Recv(ctx context.Context, dst []*pipe.Event) (int, error) {
	return q.in.Recv(ctx, dst)
}

// pump sends b.N events through q, which must lose none.
func pump(b *testing.B, q queue, batch, producers int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := some(&ends{}, 1024)
	per := b.N / producers
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			out := make([]*pipe.Event, batch)
			for i := range out {
				out[i] = events[i%len(events)]
			}
			for left := per; left > 0; left -= len(out) {
				out = out[:min(left, batch)]
				if _, err := q.Send(ctx, out); err != nil {
					panic(err)
				}
			}
		})
	}
	go func() { wg.Wait(); q.Close() }()
	dst := make([]*pipe.Event, batch)
	got, sum := 0, 0
	for {
		n, err := q.Recv(ctx, dst)
		if err != nil {
			break
		}
		for _, e := range dst[:n] {
			sum += e.Size()
		}
		got += n
	}
	b.StopTimer()
	if got != per*producers || sum != 200*got {
		b.Fatalf("got %d events of %d bytes, want %d", got, sum, per*producers)
	}
}

// BenchmarkEdgeInTurn sends and receives from one goroutine: what the policies
// cost while there is room.
func BenchmarkEdgeInTurn(b *testing.B) {
	for _, s := range []Settings{
		{Policy: Block},
		{Policy: Block, Bytes: 1 << 24},
		{Policy: Block, Bytes: 1 << 24, Age: time.Hour},
		{Policy: DropOldest},
		{Policy: Sample, Base: 1, Min: 0.1, Threshold: 0.8},
	} {
		for _, batch := range []int{1, 128} {
			b.Run(fmt.Sprintf("%s,bytes=%v,age=%v/batch%d", s.Policy, s.Bytes > 0, s.Age > 0, batch), func(b *testing.B) {
				s.Events = benchEvents
				q := New("bench", s, Options{})
				events, dst := some(&ends{}, batch), make([]*pipe.Event, batch)
				b.ReportAllocs()
				for i := 0; i < b.N; i += batch {
					q.Send(b.Context(), events)
					q.Recv(b.Context(), dst)
				}
			})
		}
	}
}

// BenchmarkEdgeFull offers to a full edge that nobody receives from, so that
// every event is dropped or drops another. "settle" is what the settling in it
// costs, "chan" the same with a channel and without telling anybody.
func BenchmarkEdgeFull(b *testing.B) {
	half := Settings{Policy: Sample, Base: 0.5, Min: 0.5}
	keyed := half
	keyed.Key = func(e *pipe.Event) (uint64, bool) { return uint64(e.Position()) << 55, true }
	for _, batch := range []int{1, 128} {
		for _, s := range []Settings{{Policy: DropOldest}, {Policy: DropNewest}, {Policy: DropRandom}, half, keyed} {
			b.Run(fmt.Sprintf("%s,keyed=%v/batch%d", s.Policy, s.Key != nil, batch), func(b *testing.B) {
				s.Events = benchEvents
				q := New("bench", s, Options{})
				q.Offer(some(&ends{}, benchEvents))
				fresh(b, batch, func(events []*pipe.Event) { q.Send(b.Context(), events) })
			})
		}
		b.Run(fmt.Sprintf("settle/batch%d", batch), func(b *testing.B) {
			fresh(b, batch, func(events []*pipe.Event) { pipe.Settle(events, pipe.Dropped) })
		})
		b.Run(fmt.Sprintf("chan,drop-oldest/batch%d", batch), func(b *testing.B) {
			c := make(chan *pipe.Event, benchEvents)
			fresh(b, batch, func(events []*pipe.Event) {
				for _, e := range events {
					for sent := false; !sent; {
						select {
						case c <- e:
							sent = true
						default:
							<-c
						}
					}
				}
			})
		})
	}
}

// fresh calls f with batches of events that were never sent before, b.N events
// in all. The making of events is not measured.
func fresh(b *testing.B, batch int, f func([]*pipe.Event)) {
	const stock = 1 << 15
	var events []*pipe.Event
	b.ReportAllocs()
	for i := 0; i < b.N; i += batch {
		if len(events) < batch {
			b.StopTimer()
			var source pipe.Batch
			for len(events) < stock {
				source.Reset(ignore{}, "bench", 0)
				for range batch {
					source.Add(body(200), int64(len(events)))
				}
				made, _, _ := source.Take(time.Now())
				events = append(events, made...)
			}
			b.StartTimer()
		}
		f(events[:batch])
		events = events[batch:]
	}
}

// BenchmarkEdgeApply changes the settings of an edge that four producers and a
// consumer use as fast as they can.
func BenchmarkEdgeApply(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	q := New("bench", Settings{Events: benchEvents, Policy: Block}, Options{})
	var wg sync.WaitGroup
	for range 4 {
		events := some(&ends{}, 128)
		wg.Go(func() {
			for err := error(nil); err == nil; {
				_, err = q.Send(ctx, events)
			}
		})
	}
	wg.Go(func() {
		dst := make([]*pipe.Event, 128)
		for err := error(nil); err == nil; {
			_, err = q.Recv(ctx, dst)
		}
	})
	b.ReportAllocs()
	for i := range b.N {
		q.Apply(Settings{Events: 1 + i%(2*benchEvents), Policy: Block}, uint64(i))
	}
	cancel()
	q.Close()
	q.Drain()
	wg.Wait()
}
