package pipetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Puller reads from a source and settles what it read, as the engine does.
type Puller struct {
	Source pipe.Source
	Ledger *pipe.Ledger
	Marks  map[string]int64 // the last committed position per partition

	t      testing.TB
	batch  pipe.Batch
	seq    uint64
	open   map[*pipe.Event]bool
	closed bool
}

// Pulled is an event or a failure that was read.
type Pulled struct {
	Event     *pipe.Event
	Err       error // why it failed, nil for an event
	Text      string
	Partition string
	Position  int64
	ID        string
	Origin    string
}

// Pull opens src. The test fails when it cannot be opened.
func Pull(t testing.TB, src pipe.Source) *Puller {
	t.Helper()
	p := NewPuller(t, src)
	if o, ok := src.(pipe.Opener); ok {
		if err := o.Open(t.Context(), Env()); err != nil {
			t.Fatalf("open: %v", err)
		}
	}
	return p
}

// NewPuller returns a Puller of a source that is open already.
func NewPuller(t testing.TB, src pipe.Source) *Puller {
	s, _ := src.(pipe.Settler)
	return &Puller{Source: src, Ledger: pipe.NewLedger(pipe.Window{}, s), Marks: map[string]int64{}, t: t, open: map[*pipe.Event]bool{}}
}

// Read calls Source.Read once and enters what came in the ledger. Events and
// failures are returned in order of position.
func (p *Puller) Read(ctx context.Context) ([]Pulled, error) {
	p.seq++
	p.batch.Reset(p.Ledger, "node", p.seq)
	err := p.Source.Read(ctx, &p.batch)
	if err == nil && p.batch.Len() == 0 && p.batch.Messages() == 0 {
		p.t.Error("read returned nil without an event")
	}
	events, failed, g := p.batch.Take(time.Now())
	if p.batch.Messages() > 0 {
		p.Ledger.Count(g)
		pipe.SettleEmpty(g)
	}
	var all []Pulled
	for _, e := range events {
		all = append(all, p.pulled(e, g, nil))
	}
	for _, f := range failed {
		all = append(all, p.pulled(f.Event, g, f.Err))
	}
	slices.SortStableFunc(all, func(a, b Pulled) int { return int(a.Position - b.Position) })
	return all, err
}

func (p *Puller) pulled(e *pipe.Event, g *pipe.Group, err error) Pulled {
	p.open[e] = true
	text := e.Body.AppendText(nil)
	if !e.Body.IsText() {
		text = e.Body.AppendJSON(nil)
	}
	return Pulled{Event: e, Err: err, Text: string(text), Partition: g.Partition(), Position: e.Position(), ID: e.ID(), Origin: e.Origin()}
}

// Settle gives the events their outcome.
func (p *Puller) Settle(all []Pulled, o pipe.Outcome) {
	for _, e := range all {
		delete(p.open, e.Event)
		pipe.Settle([]*pipe.Event{e.Event}, o)
	}
}

// Commit hands the positions that moved to the source.
func (p *Puller) Commit() { p.commit(p.Ledger.Marks()) }

func (p *Puller) commit(marks []pipe.Mark) {
	p.t.Helper()
	c, ok := p.Source.(pipe.Committer)
	if !ok || len(marks) == 0 {
		return
	}
	if err := c.Commit(p.t.Context(), marks); err != nil {
		p.t.Errorf("commit: %v", err)
	}
	for _, m := range marks {
		if m.Position < p.Marks[m.Partition] {
			p.t.Errorf("mark of %q fell from %d to %d", m.Partition, p.Marks[m.Partition], m.Position)
		}
		p.Marks[m.Partition] = m.Position
	}
}

// Close ends as a drain does: what is open is returned, what is settled is
// committed, the source is closed.
func (p *Puller) Close() {
	p.t.Helper()
	if p.closed {
		return
	}
	p.closed = true
	p.commit(p.Ledger.FinalMarks())
	for e := range p.open {
		pipe.Settle([]*pipe.Event{e}, pipe.Returned)
	}
	p.close()
}

// Abandon ends without a last commit, as near to a crash as a test can come
// without leaking what the source holds.
func (p *Puller) Abandon() {
	p.t.Helper()
	p.closed = true
	p.close()
}

func (p *Puller) close() {
	p.t.Helper()
	if c, ok := p.Source.(pipe.Closer); ok {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			p.t.Errorf("close: %v", err)
		}
	}
}
