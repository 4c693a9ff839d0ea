package pipetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipectl/pipectl/engine/pipe"
)

// patience is how long "soon" is at most, on a busy machine.
const patience = 5 * time.Second

// SourceOptions says what a source under test will deliver.
type SourceOptions struct {
	// Want is the text of every event (its JSON, or the line), in order. With
	// several partitions the order between them does not count.
	Want []string
	// Endless says that the source does not end by itself. The suite then stops it.
	Endless bool
	// Feed produces the input, once the source is open; nil when it is there already.
	Feed func(src pipe.Source)
	// Taken returns how many bytes src has taken from the outside, where that can
	// be told. MaxAhead is how many it may have taken without a Read.
	Taken    func(src pipe.Source) int64
	MaxAhead int64
	// Reset forgets what instances before have committed; nil when they keep nothing.
	Reset func()
	// FromStart says that it keeps no position: after a restart everything comes
	// again, not only what was not committed.
	FromStart bool
	// Unstable says that identities are not the same in another run.
	Unstable bool

	patience time.Duration // another one in tests of the suite itself
}

// Source runs the conformance suite of sources: fresh returns a new instance,
// not yet open, which reads the same input every time.
func Source(t *testing.T, fresh func() pipe.Source, o SourceOptions) {
	if o.patience == 0 {
		o.patience = patience
	}
	s := sourceSuite{fresh, o}
	t.Run("reads_everything", s.readsEverything)
	t.Run("stops_when_told", s.stops)
	t.Run("stops_before_reading", s.stopsAtOnce)
	t.Run("read_after_close_fails", s.readAfterClose)
	t.Run("leaves_nothing_unread_when_not_asked", s.waitsToBeAsked)
	t.Run("replays_from_the_last_commit", s.replays)
	t.Run("is_open_and_closed_without_reading", s.closesUnread)
}

type sourceSuite struct {
	fresh func() pipe.Source
	o     SourceOptions
}

// start opens an instance that knows of none before it.
func (s *sourceSuite) start(t *testing.T) *Puller {
	t.Helper()
	if s.o.Reset != nil {
		s.o.Reset()
	}
	return s.restart(t)
}

func (s *sourceSuite) restart(t *testing.T) *Puller {
	t.Helper()
	p := Pull(t, s.fresh())
	if s.o.Feed != nil {
		s.o.Feed(p.Source)
	}
	return p
}

// take reads until n events came, or the end.
func (s *sourceSuite) take(t *testing.T, p *Puller, n int) []Pulled {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*s.o.patience)
	defer cancel()
	var all []Pulled
	for len(all) < n {
		got, err := p.Read(ctx)
		all = append(all, got...)
		if err == io.EOF && !s.o.Endless {
			break
		}
		if err != nil {
			t.Fatalf("after %d events: %v", len(all), err)
		}
	}
	return all
}

func (s *sourceSuite) readsEverything(t *testing.T) {
	defer leaks(t)()
	p := s.start(t)
	all := s.take(t, p, len(s.o.Want))
	s.compare(t, all, s.o.Want)
	checkOrder(t, all)
	ids := map[string]string{}
	for _, e := range all {
		if other, taken := ids[e.ID]; taken {
			t.Errorf("%s and %s have the same id %s", e.Origin, other, e.ID)
		}
		ids[e.ID] = e.Origin
	}
	if !s.o.Endless {
		s.checkEnd(t, p)
	}
	p.Settle(all, pipe.Delivered)
	if got := p.Ledger.Tally(); got.Acked != int64(len(all)) || got.OpenEvents != 0 {
		t.Errorf("the account says %+v after %d events", got, len(all))
	}
	p.Close()
	if s.o.Unstable {
		return
	}
	p = s.start(t)
	again := s.take(t, p, len(s.o.Want))
	p.Close()
	for i := range min(len(all), len(again)) {
		if p := again[i].ID; ids[p] == "" {
			t.Errorf("event %d of the second run has the id %s, which the first did not give", i, p)
		}
	}
}

func (s *sourceSuite) checkEnd(t *testing.T, p *Puller) {
	t.Helper()
	for range 3 {
		if got, err := p.Read(t.Context()); err != io.EOF || len(got) > 0 {
			t.Errorf("read at the end: got %d events and %v, want io.EOF", len(got), err)
		}
	}
	if pr, ok := p.Source.(pipe.Progresser); ok {
		if done, total := pr.Progress(); total > 0 && done != total {
			t.Errorf("progress at the end is %d of %d", done, total)
		}
	}
	if tr, ok := p.Source.(pipe.Traiter); ok && !tr.Traits().Finite {
		t.Error("it ended, but its traits do not say finite")
	}
}

func (s *sourceSuite) compare(t *testing.T, got []Pulled, want []string) {
	t.Helper()
	texts := make([]string, len(got))
	partitions := map[string]bool{}
	for i, e := range got {
		texts[i] = e.Text
		partitions[e.Partition] = true
		if e.Err != nil {
			t.Errorf("event %d failed: %v", i, e.Err)
		}
	}
	want = slices.Clone(want)
	if len(partitions) > 1 {
		slices.Sort(texts)
		slices.Sort(want)
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got %d events %.300q\nwant %d events %.300q", len(texts), texts, len(want), want)
	}
}

func checkOrder(t *testing.T, all []Pulled) {
	t.Helper()
	last := map[string]int64{}
	for i, e := range all {
		if before, ok := last[e.Partition]; ok && e.Position <= before && e.Position != 0 {
			t.Errorf("event %d of %q: position %d after %d", i, e.Partition, e.Position, before)
		}
		last[e.Partition] = e.Position
	}
}

// stops ends the context while the source waits, or reads.
func (s *sourceSuite) stops(t *testing.T) {
	defer leaks(t)()
	p := s.start(t)
	if s.o.Endless {
		s.take(t, p, len(s.o.Want))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := p.Read(ctx); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) && (s.o.Endless || err != io.EOF) {
			t.Errorf("stopped with %v, want the context's error", err)
		}
	case <-time.After(s.o.patience):
		t.Fatalf("still reading %v after its context ended", s.o.patience)
	}
	p.Close()
}

func (s *sourceSuite) stopsAtOnce(t *testing.T) {
	defer leaks(t)()
	p := s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if _, err := p.Read(ctx); err != nil && !errors.Is(err, context.Canceled) && err != io.EOF {
		t.Errorf("read with an ended context: %v", err)
	}
	if took := time.Since(start); took > s.o.patience {
		t.Errorf("a read with an ended context took %v", took)
	}
	p.Close()
}

func (s *sourceSuite) readAfterClose(t *testing.T) {
	p := s.start(t)
	p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), s.o.patience)
	defer cancel()
	if got, err := p.Read(ctx); err == nil || len(got) > 0 {
		t.Errorf("read after close: got %d events and %v, want an error", len(got), err)
	}
}

func (s *sourceSuite) closesUnread(t *testing.T) {
	defer leaks(t)()
	s.start(t).Close()
}

// waitsToBeAsked checks that not reading is enough to slow the outside down.
func (s *sourceSuite) waitsToBeAsked(t *testing.T) {
	if s.o.Taken == nil {
		t.Skip("what it takes from the outside cannot be told")
	}
	p := s.start(t)
	defer p.Close()
	s.take(t, p, 1)
	before := s.o.Taken(p.Source)
	time.Sleep(50 * time.Millisecond) // nothing must happen; there is no event to wait for
	if more := s.o.Taken(p.Source) - before; more > s.o.MaxAhead {
		t.Errorf("took %d bytes without being asked, at most %d are allowed", more, s.o.MaxAhead)
	}
}

// replays drops an instance between commits, as a crash does, and expects the
// next one to deliver everything that was not committed.
func (s *sourceSuite) replays(t *testing.T) {
	tr, ok := s.fresh().(pipe.Traiter)
	if !ok || !tr.Traits().Replays {
		t.Skip("it does not replay")
	}
	if _, ok := s.fresh().(pipe.Committer); !ok {
		t.Skip("it keeps no position")
	}
	first := s.start(t)
	all := s.take(t, first, len(s.o.Want))
	if len(all) != len(s.o.Want) {
		t.Fatalf("got %d events, want %d", len(all), len(s.o.Want))
	}
	settled := len(all) / 2
	first.Settle(all[:settled], pipe.Delivered)
	for i := settled + 1; i < len(all); i += 2 { // and some behind an open one
		first.Settle(all[i:i+1], pipe.Delivered)
	}
	first.Commit()
	marks := first.Marks // what is settled in the last groups counts only at an orderly stop
	first.Abandon()
	second := s.restart(t)
	defer second.Close()
	var want []string
	for _, e := range all {
		if s.o.FromStart || e.Position > marks[e.Partition] {
			want = append(want, e.Text)
		}
	}
	s.compare(t, s.take(t, second, len(want)), want)
}

// leaks returns a check that no goroutine is left that was not there before.
func leaks(t *testing.T) func() {
	before := goleak.IgnoreCurrent()
	return func() {
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	}
}

// Env returns what a component is opened with in tests.
func Env() pipe.Env {
	return pipe.Env{Node: "node", Pipeline: "test", Log: slog.New(slog.DiscardHandler), MaxEventBytes: 8 << 20}
}
