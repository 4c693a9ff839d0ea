package pipe

import (
	"context"
	"log/slog"
	"time"
)

// A component is one struct in one file: its exported fields are its YAML
// (with `yaml:"name"` tags; doc comments become its manual), an optional
// Validate checks them, and one method does the work. The optional interfaces
// below add what few components need.

// Source reads events from the outside world.
type Source interface {
	// Read appends at least one event or failure to b and returns nil, or waits
	// until there is one. It returns what is there rather than waiting to fill a
	// batch; about 64 KiB or 256 events are a good size under load. It may block
	// and must return soon after ctx is done, with ctx.Err() and whatever it had
	// appended. io.EOF (with or without events) means the input has ended; any
	// other error ends the pipeline. The engine calls Read from one goroutine,
	// and does not call it while the pipeline is full: not reading is how a
	// source slows its outside world down.
	Read(ctx context.Context, b *Batch) error
}

// Stage turns events into events.
type Stage interface {
	// Process decides about every event of in, in order, with the methods of out.
	// It may wait (with ctx) and must return soon after ctx is done. An error
	// fails the events not yet decided, with that error. With workers above 1 it
	// is called from several goroutines at once.
	Process(ctx context.Context, in []*Event, out *Out) error
}

// Sink writes events to the outside world.
type Sink interface {
	// Write returns nil once every event of in is safely where it belongs: nil is
	// the confirmation that lets sources forget. A *PartialError names the events
	// that failed; any other error means that none counts as written. It must not
	// keep in or the bytes of its events. It must return soon after ctx is done.
	// Calls do not overlap unless the sink is a Concurrent.
	Write(ctx context.Context, in []*Event) error
}

// Env is what the engine gives a component when it opens it.
type Env struct {
	Node          string       // the node's name in the file
	Pipeline      string       // the pipeline's name
	Log           *slog.Logger // carries the node's name already
	MaxEventBytes int          // largest allowed payload of one event, in bytes
	Meter         *Meter       // where the component counts what it waits for; never nil
	Predecessor   any          // the running component that this one takes over from, else nil
	Inside        Inside       // the pipeline itself, as its own events; nil when there is none
}

// Inside is a running pipeline as a component of it may see it: to make events of
// it, never to change it.
type Inside interface {
	// StatusJSON returns the figures of this moment as a JSON object, which is the
	// caller's. It may be called at any time and waits for no data.
	StatusJSON() ([]byte, error)
	// Follow calls f with every message that the pipeline logs, at a level that is
	// logged at all, with the node it is about or "", until stop is called. f is called
	// from the goroutine that logs, must not block and must not log; it may still be
	// called while stop runs, not after.
	Follow(f func(node string, r slog.Record)) (stop func())
}

// Opener is a component that must be prepared: files opened, ports bound.
// Sinks are opened first, then stages, then sources. An error stops the start.
type Opener interface {
	Open(ctx context.Context, env Env) error
}

// Closer is a component with something to release. Close is called once, after
// its last call of work returned; ctx ends at the shutdown deadline.
type Closer interface {
	Close(ctx context.Context) error
}

// Validator checks the fields after decoding. It touches nothing outside the
// process: CI runs it. Return a *FieldError (or errors.Join of several) to
// point at a field.
type Validator interface {
	Validate() error
}

// Router is a stage whose outputs have names of their own instead of the main
// output. Ports is called once, after Validate; Out.EmitTo uses its order.
type Router interface {
	Ports() []Port
}

// Port is a named output.
type Port struct {
	Name     string
	Optional bool // may stay unconnected; what it would carry is filtered, counted as unrouted
}

// Holder is a stage that keeps events beyond Process (batch, window). Its
// Process, Deadline and Flush are never called concurrently.
type Holder interface {
	// Deadline returns when Flush must be called next; zero means no need.
	Deadline() time.Time
	// Flush emits what is due; with final true, everything it holds.
	Flush(ctx context.Context, out *Out, final bool) error
	// Capacity returns the most events it holds before it emits.
	Capacity() int
}

// Timely is a Holder that gives up by the clock alone what it holds (window): it
// never waits for a number of events.
type Timely interface {
	// Timely does nothing; to have it is to be Timely.
	Timely()
}

// Paced is a stage that wants few events at a time, because it waits for each.
type Paced interface {
	// MaxBatch returns the most events one Process should get, at least 1.
	MaxBatch() int
}

// Caller is a stage that asks somebody outside and waits for the answer. It gets
// the guards of a sink: deadline, retry, breaker and rate_limit, and timeout is
// for one attempt. The engine counts the time of its Process as waiting for the
// far side, so it must not count it as well.
//
// It decides about an event once it has the answer for it. An error of Process is
// the far side's, and judged by its class: while it may go away, Process is called
// again with the events that are not decided about.
type Caller interface {
	// CallsOut does nothing; to have it is to be a Caller.
	CallsOut()
}

// Lengthy is a stage whose calls take long because it was told so (delay). It is
// not taken for one that hangs.
type Lengthy interface {
	// Lasts returns how long one call may take. It may be called at any time.
	Lasts() time.Duration
}

// Committer is a source that keeps a position per partition (file, Kafka).
type Committer interface {
	// Commit records that everything up to and including pos is settled. The
	// engine calls it from one goroutine, with rising positions per partition,
	// about once a second and at the end; it may do I/O. Read may run meanwhile.
	Commit(ctx context.Context, marks []Mark) error
}

// Mark is a settled position of a partition.
type Mark struct {
	Partition string
	Position  int64
}

// Settler is a source that answers single messages (HTTP requests, AMQP).
type Settler interface {
	// Settled tells the result of the message begun with token. It is called
	// once per message, from any goroutine, and must not block.
	Settled(token any, result Outcome)
}

// Drainer is a source that must be told to stop taking input while it stays
// connected for acks. Drain is called before Read's context ends.
type Drainer interface {
	Drain()
}

// Traits says what a source can promise; the zero value promises nothing.
type Traits struct {
	Replays  bool   // what was returned or never acked is read again after a restart
	Rewinds  bool   // can take back a single refused message while running
	Finite   bool   // ends by itself
	Total    int64  // how many bytes or events there are, 0 when unknown
	Why      string // half a sentence for guarantees: "tcp cannot be read again"
	Unpaused bool   // cannot be slowed down; what is not taken is lost outside
}

// Traiter is a source that promises something.
type Traiter interface {
	Traits() Traits
}

// Progresser is a source with a known end.
type Progresser interface {
	// Progress returns how much was read and how much there is, in bytes or
	// events; total 0 means unknown. It may be called at any time.
	Progress() (done, total int64)
}

// Rejecter is a source that turns clients away.
type Rejecter interface {
	// Rejected returns how many requests were refused, by status code. It may be
	// called at any time.
	Rejected() map[string]int64
}

// RateLimiter is a component with a pace of its own, whether it is reached or not.
type RateLimiter interface {
	// RateLimit returns the most events a second that it lets through now; 0
	// means that there is no limit in events. It may be called at any time.
	RateLimit() float64
}

// Lagger is a source that knows how much is waiting outside for it.
type Lagger interface {
	// Lag returns the events and the bytes that are there and not read yet; -1
	// for what it does not know. It may be called at any time and must not block.
	Lag() (events, bytes int64)
}

// Concurrent is a sink whose Write may be called from several goroutines.
type Concurrent interface {
	// MaxConcurrent returns how many calls of Write it bears, at least 1.
	MaxConcurrent() int
}
