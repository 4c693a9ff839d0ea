package edge

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// outcomes is an Acks that counts the outcomes of each event of a storm.
type outcomes struct {
	times []atomic.Int32 // by position: how often it ended
	ended [8]atomic.Int64
}

func (o *outcomes) MessageDone(_ *pipe.Group, token any, result pipe.Outcome) {
	o.times[token.(int64)].Add(1)
	o.ended[result].Add(1)
}

func (o *outcomes) GroupDone(*pipe.Group) {}

// storm is producers, consumers and somebody who changes the settings all the
// time, with everything that can be cancelled being cancelled.
type storm struct {
	t         *testing.T
	seed      uint64
	lossless  bool
	edges     []*Edge
	in        *Inbox
	producers int // of each edge
	consumers int
	each      int // events of a producer
	out       outcomes
	got       atomic.Int64
	changes   int
}

func (s *storm) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

// settings draws settings of any kind, or only such as lose nothing.
func (s *storm) settings(r *rand.Rand) Settings {
	if s.lossless {
		x := Settings{Events: 1 + r.IntN(64), Policy: Block, Priority: r.IntN(3)}
		if r.IntN(3) == 0 {
			x.Bytes = int64(1 + r.IntN(4000))
		}
		return x
	}
	x := randomSettings(r)
	x.Events, x.Priority = 1+r.IntN(64), r.IntN(3)
	x.Age, x.Timeout = x.Age/100_000, x.Timeout/20_000 // tens of microseconds
	if x.Then == Fail {
		x.Then = DropNewest
	}
	return x
}

// produce sends its events in order, giving up on some Sends halfway.
func (s *storm) produce(q *Edge, id int) {
	r := s.rand(100 + uint64(id))
	next, last := int64(id*s.each), int64((id+1)*s.each)
	var batch pipe.Batch
	var pending []*pipe.Event
	for next < last || len(pending) > 0 {
		if next < last && len(pending) < 20 {
			sizes := make([]int, min(1+r.IntN(40), int(last-next)))
			for i := range sizes {
				sizes[i] = pipe.EventOverhead + r.IntN(300)
			}
			pending = append(pending, fill(&batch, &s.out, time.Now(), "storm", next, sizes...)...)
			next += int64(len(sizes))
		}
		n, err := s.send(q, r, pending)
		pending = pending[n:]
		if errors.Is(err, ErrClosed) {
			pipe.Settle(pending, pipe.Returned)
			return
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("seed %d: send: %v", s.seed, err)
			return
		}
	}
}

func (s *storm) send(q *Edge, r *rand.Rand, events []*pipe.Event) (int, error) {
	switch r.IntN(6) {
	case 0:
		return q.Offer(events), nil
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(200))*time.Microsecond)
		defer cancel()
		return q.Send(ctx, events)
	}
	return q.Send(context.Background(), events)
}

// consume receives until the end, and checks the order if nobody else receives.
func (s *storm) consume(id int) {
	r := s.rand(200 + uint64(id))
	last := make([]int64, len(s.edges)*s.producers)
	dst := make([]*pipe.Event, 50)
	for {
		n, err := s.in.RecvUntil(context.Background(), dst[:1+r.IntN(50)], soon(r))
		if err != nil {
			if err != ErrClosed {
				s.t.Errorf("seed %d: receive: %v", s.seed, err)
			}
			return
		}
		for _, e := range dst[:n] {
			p := e.Position() / int64(s.each)
			if s.consumers == 1 && e.Position() < last[p] {
				s.t.Errorf("seed %d: event %d after %d", s.seed, e.Position(), last[p])
			}
			last[p] = e.Position()
		}
		pipe.Settle(dst[:n], pipe.Delivered)
		s.got.Add(int64(n))
		if r.IntN(8) == 0 {
			time.Sleep(time.Duration(r.IntN(60)) * time.Microsecond)
		}
	}
}

// soon is a timer now and then.
func soon(r *rand.Rand) <-chan time.Time {
	if r.IntN(10) > 0 {
		return nil
	}
	return time.After(time.Duration(r.IntN(100)) * time.Microsecond)
}

// change applies settings and takes snapshots until stop is closed.
func (s *storm) change(stop <-chan struct{}) {
	r := s.rand(1)
	for {
		select {
		case <-stop:
			return
		default:
		}
		q := s.edges[r.IntN(len(s.edges))]
		x := s.settings(r)
		q.Apply(x, uint64(s.changes))
		s.changes++
		if r.IntN(4) == 0 {
			now := q.Snapshot()
			if err := now.Balance(); err != nil {
				s.t.Errorf("seed %d: %v", s.seed, err)
			}
			if now.Generation > uint64(s.changes) || now.Queued.Events > 64+64 || now.Blocked < 0 || now.Idle < 0 {
				s.t.Errorf("seed %d: impossible figures %+v", s.seed, now)
			}
		}
		if r.IntN(3) == 0 {
			runtime.Gosched()
		}
		if r.IntN(50) == 0 {
			time.Sleep(time.Duration(r.IntN(60)) * time.Microsecond)
		}
	}
}

func (s *storm) run() {
	r := s.rand(0)
	total := len(s.edges) * s.producers * s.each
	s.out.times = make([]atomic.Int32, total)
	for i := range s.edges {
		s.edges[i] = New("storm", s.settings(r), Options{})
	}
	s.in = NewInbox(s.edges...)
	stop := make(chan struct{})
	var sending, receiving, changing sync.WaitGroup
	for i := range s.consumers {
		receiving.Go(func() { s.consume(i) })
	}
	for i := range len(s.edges) * s.producers {
		sending.Go(func() { s.produce(s.edges[i%len(s.edges)], i) })
	}
	changing.Go(func() { s.change(stop) })
	returned := 0
	if !s.lossless && r.IntN(4) == 0 { // stop in the middle
		time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
		for _, q := range s.edges {
			left := q.Drain()
			returned += len(left)
			pipe.Settle(left, pipe.Returned)
		}
	}
	sending.Wait()
	close(stop)
	changing.Wait()
	for _, q := range s.edges {
		q.Close()
	}
	receiving.Wait()
	s.audit(total, returned)
}

// audit checks that every event ended once, and that the figures say how.
func (s *storm) audit(total, returned int) {
	var sum Stats
	for _, q := range s.edges {
		x := balanced(s.t, q)
		if x.Queued != (Count{}) || x.Producers != 0 || x.Receivers != 0 {
			s.t.Errorf("seed %d: left behind: %+v", s.seed, x)
		}
		d := x.DroppedTotal()
		sum.Delivered.add(int(x.Delivered.Events), 0)
		sum.Returned.add(int(x.Returned.Events), 0)
		sum.Refused[0].add(int(d.Events), 0)
	}
	dropped := s.out.ended[pipe.Dropped].Load() + s.out.ended[pipe.Refused].Load()
	if sum.Delivered.Events != s.got.Load() || sum.Refused[0].Events != dropped || sum.Returned.Events != int64(returned) {
		s.t.Errorf("seed %d: edges count %d delivered, %d dropped, %d returned; want %d, %d, %d", s.seed,
			sum.Delivered.Events, sum.Refused[0].Events, sum.Returned.Events, s.got.Load(), dropped, returned)
	}
	if s.lossless && s.got.Load() != int64(total) {
		s.t.Errorf("seed %d: got %d of %d events without loss", s.seed, s.got.Load(), total)
	}
	for i := range s.out.times {
		if n := s.out.times[i].Load(); n > 1 || n == 0 && s.out.ended[pipe.Returned].Load() == 0 {
			s.t.Fatalf("seed %d: event %d ended %d times", s.seed, i, n)
		}
	}
}

// TestStorm changes everything at once, for as long as it takes to change the
// settings fifty thousand times.
func TestStorm(t *testing.T) {
	changes, seed := 0, uint64(0)
	for ; changes < rounds(50_000) && !t.Failed(); seed++ {
		s := &storm{t: t, seed: seed, lossless: seed%3 == 0, each: 400,
			edges:     make([]*Edge, 1+int(seed%4)/2),
			producers: 1 + int(seed%5), consumers: 1 + int(seed/2%3)}
		s.run()
		changes += s.changes
	}
	t.Logf("%d changes of settings in %d storms", changes, seed)
}
