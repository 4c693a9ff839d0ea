package edge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// pair runs the same operations on an edge and on the model.
type pair struct {
	t     *testing.T
	r     *rand.Rand
	q     *Edge
	m     *model
	x     ends
	next  int64
	batch *pipe.Batch
	list  int
	op    string
	args  []any
}

func (p *pair) events() ([]*pipe.Event, []item) {
	var sizes []int
	var items []item
	at := time.Now().Add(-time.Duration(p.r.IntN(3)) * time.Second)
	for range 1 + p.r.IntN(5) {
		size := pipe.EventOverhead + p.r.IntN(200)
		if p.r.IntN(12) == 0 {
			size = 1200
		}
		p.next++
		sizes = append(sizes, size)
		items = append(items, item{pos: p.next, size: int64(size), at: at})
	}
	return fill(p.batch, &p.x, at, "model", items[0].pos, sizes...), items
}

// step does one random operation on both and compares all that can be seen.
func (p *pair) step() {
	switch op := p.r.IntN(100); {
	case op < 50:
		p.send(op < 15)
	case op < 75:
		p.recv()
	case op < 85:
		d := time.Duration(p.r.IntN(4)) * time.Second / 2
		p.op, p.args = "advance", []any{d}
		p.m.now = p.m.now.Add(d)
		time.Sleep(d)
	case op < 96:
		s := randomSettings(p.r)
		p.op, p.args = "apply", nil
		p.m.apply(s)
		p.q.Apply(s, 1)
	case op < 98:
		p.op, p.args = "peak", nil
		c := &p.m.counts
		c.lifetimePeak, c.peak = max(c.peak, c.lifetimePeak), len(p.m.queue)
		p.q.ResetPeak()
	case op < 99:
		p.op, p.args = "close", nil
		p.m.closed = true
		p.q.Close()
	default:
		p.drain()
	}
	p.compare()
}

func (p *pair) send(offer bool) {
	events, items := p.events()
	m := p.m
	// Where no time ends the wait, only a cancelled Send comes back.
	wait := !offer && (m.s.Policy != Block || m.s.Timeout > 0 || m.s.Age > 0) && p.r.IntN(4) > 0
	p.op, p.args = "send, offer, wait", []any{items, offer, wait}
	n, err, want, wantErr := 0, error(nil), 0, ErrClosed
	switch {
	case offer:
		n = p.q.Offer(events)
	case wait:
		n, err = p.q.Send(context.Background(), events)
	default:
		n, err = p.q.Send(over, events)
	}
	if !m.closed {
		waits := m.counts.waits
		want, wantErr = m.send(items, wait)
		if offer {
			m.counts.waits = waits
		}
	}
	if n != want || err != wantErr && !offer {
		p.failf("took %d, %v; want %d, %v", n, err, want, wantErr)
	}
	pipe.Settle(events[n:], pipe.Returned)
	for _, it := range items[n:] {
		m.ends = append(m.ends, end{it.pos, pipe.Returned})
	}
}

func (p *pair) recv() {
	dst := make([]*pipe.Event, 1+p.r.IntN(5))
	p.op, p.args = "receive", []any{len(dst)}
	n, err := p.q.Recv(over, dst)
	want := p.m.recv(len(dst))
	wantErr := error(nil)
	switch {
	case len(want) > 0:
	case p.m.closed:
		wantErr = ErrClosed
	default:
		wantErr = context.DeadlineExceeded
	}
	if n != len(want) || err != wantErr {
		p.failf("got %d, %v; want %v, %v", n, err, want, wantErr)
	}
	for i, it := range want {
		if rate, _ := dst[i].Meta(pipe.SampleRate); dst[i].Position() != it.pos || rate != it.rate || int64(dst[i].Size()) != it.size {
			p.failf("got event %d of %d bytes with rate %q; want %+v", dst[i].Position(), dst[i].Size(), rate, it)
		}
		p.m.ends = append(p.m.ends, end{it.pos, pipe.Delivered})
	}
	pipe.Settle(dst[:n], pipe.Delivered)
}

func (p *pair) drain() {
	p.op, p.args = "drain", nil
	got := p.q.Drain()
	p.m.closed = true
	p.m.counts.returned.add(len(p.m.queue), p.m.bytes)
	if len(got) != len(p.m.queue) {
		p.failf("got %d events, want %d", len(got), len(p.m.queue))
	}
	for i, it := range p.m.queue {
		if got[i].Position() != it.pos {
			p.failf("got event %d, want %d", got[i].Position(), it.pos)
		}
		p.m.ends = append(p.m.ends, end{it.pos, pipe.Returned})
	}
	pipe.Settle(got, pipe.Returned)
	p.m.queue, p.m.bytes = nil, 0
}

func (p *pair) compare() {
	q, m := p.q, p.m
	s := q.Snapshot()
	if err := s.Balance(); err != nil {
		p.failf("%v", err)
	}
	if q.counts != m.counts {
		p.failf("figures\n got %+v\nwant %+v", q.counts, m.counts)
	}
	if q.ring.n != len(m.queue) || q.bytes != m.bytes || q.tripped != m.tripped {
		p.failf("got %d events, %d bytes, tripped %v; want %d, %d, %v", q.ring.n, q.bytes, q.tripped, len(m.queue), m.bytes, m.tripped)
	}
	for i, it := range m.queue {
		if q.ring.at(i).Position() != it.pos {
			p.failf("queued %d is event %d, want %d", i, q.ring.at(i).Position(), it.pos)
		}
	}
	if !slices.Equal(p.x.list, m.ends) {
		p.failf("events ended\n got %v\nwant %v", p.x.list, m.ends)
	}
	if !time.Now().Equal(m.now) {
		p.failf("it is %v, want %v", time.Now(), m.now)
	}
}

func (p *pair) failf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("list %d, %s %v: %s\nsettings %+v", p.list, p.op, p.args, fmt.Sprintf(format, args...), p.m.s)
}

// TestModel runs random lists of operations against the model: every policy,
// events and bytes, ages, timeouts, changes of settings at any moment.
func TestModel(t *testing.T) {
	const bubbles = 4
	for b := range bubbles {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var batch pipe.Batch
				for list := b; list < alone(200_000); list += bubbles {
					r := rand.New(rand.NewPCG(uint64(list), 11))
					s := randomSettings(r)
					p := pair{t: t, r: r, list: list, batch: &batch, q: New("model", s, Options{})}
					p.m = &model{s: s, now: time.Now(), rng: rand.New(rand.NewPCG(s.Seed, 1))}
					for range 10 {
						p.step()
					}
				}
			})
		})
	}
}
