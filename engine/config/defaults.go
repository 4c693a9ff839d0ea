package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The defaults.
const (
	DefaultMaxEventBytes   = 8 << 20
	DefaultShutdownTimeout = 25 * time.Second
	DefaultStallAfter      = time.Minute
	DefaultMaxStuck        = 4
	DefaultBufferEvents    = 1024
	DefaultBufferBytes     = 16 << 20
	DefaultBatchEvents     = 1024
	DefaultBatchBytes      = 4 << 20
	DefaultBatchInterval   = pipe.Duration(time.Second) // of a batch that the file gives
	DefaultRetryInitial    = 250 * time.Millisecond
	DefaultRetryMax        = 30 * time.Second
	DefaultMinRate         = 0.01
	DefaultThreshold       = 0.8
)

// NewNode makes a node with its defaults. typ is for messages and may name no
// registered type when component is not nil.
func NewNode(kind pipe.Kind, name, typ string, component any) *Node {
	n := &Node{Name: name, Kind: kind, Type: typ, Component: component}
	n.Ordered = true
	n.Retry.Jitter = 1
	n.fill()
	return n
}

// fill sets the defaults of what is zero.
func (n *Node) fill() {
	if n.OnError == "" {
		n.OnError = OnErrorStop
	}
	if n.Component == nil && !n.broken {
		if c, ok := pipe.Lookup(n.Kind, n.Type); ok {
			n.Component = c.New()
		}
	}
	switch n.Kind {
	case pipe.KindStage:
		n.Workers = orDefault(n.Workers, 1)
		n.MaxStuck = orDefault(n.MaxStuck, DefaultMaxStuck)
		n.fillGuards()
		n.fillDeadLetters()
	case pipe.KindSink:
		n.Batch.Events = orDefault(n.Batch.Events, DefaultBatchEvents)
		n.Batch.Bytes = orDefault(n.Batch.Bytes, DefaultBatchBytes)
		if n.IsSet("batch") && !n.IsSet("batch.interval") {
			n.Batch.Interval = DefaultBatchInterval
		}
		n.MaxStuck = orDefault(n.MaxStuck, DefaultMaxStuck)
		n.fillGuards()
		n.Concurrency.fill()
		if n.Batch.Adaptive != nil {
			n.Batch.Adaptive.fill()
		}
		n.fillDeadLetters()
	}
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// DefaultEdge returns the settings of an edge that the file says nothing about.
func DefaultEdge() EdgeSettings {
	var s EdgeSettings
	s.fill()
	return s
}

// fill sets the defaults of what is zero and clears options of other policies.
func (s *EdgeSettings) fill() {
	s.Buffer.Events = orDefault(s.Buffer.Events, DefaultBufferEvents)
	s.Buffer.Bytes = orDefault(s.Buffer.Bytes, DefaultBufferBytes)
	s.OnDrop = orDefault(s.OnDrop, "ack")
	s.OnShrink = orDefault(s.OnShrink, "keep")
	s.Policy.fill()
}

func (p *Policy) fill() {
	p.Type = orDefault(p.Type, Block)
	switch {
	case p.Type != Block:
		p.Timeout, p.Then = 0, ""
	case p.Timeout == 0:
		p.Then = ""
	default:
		p.Then = orDefault(p.Then, DropNewest)
	}
	if p.Type != Sample {
		p.BaseRate, p.MinRate, p.Threshold, p.Key = 0, 0, 0, nil
		return
	}
	if p.BaseRate == 0 {
		p.BaseRate = 1
		p.Threshold = orDefault(p.Threshold, DefaultThreshold)
	}
	p.MinRate = orDefault(p.MinRate, min(DefaultMinRate, p.BaseRate))
}

// reset forgets the default policy: a policy is given as a whole.
func (p *Policy) reset() { *p = Policy{BaseRate: 1, Threshold: DefaultThreshold} }

// fill completes a pipeline: defaults, ids, ports.
func (p *Pipeline) fill() {
	p.Version = orDefault(p.Version, 1)
	p.Name = orDefault(p.Name, "pipeline")
	p.Limits.MaxEventBytes = orDefault(p.Limits.MaxEventBytes, DefaultMaxEventBytes)
	p.Limits.StallAfter = orDefault(p.Limits.StallAfter, pipe.Duration(DefaultStallAfter))
	p.Shutdown.Timeout = orDefault(p.Shutdown.Timeout, pipe.Duration(DefaultShutdownTimeout))
	for _, n := range p.Nodes() {
		n.fill()
	}
	for _, e := range p.Edges {
		e.fill()
	}
}

func (e *Edge) fill() {
	e.EdgeSettings.fill()
	if e.ID = e.Name; e.ID == "" {
		e.ID = edgeID(e.From, e.Port, e.To)
	}
}

// edgeID is the id of an edge without a name.
func edgeID(from, port, to string) string { return output(from, port) + "->" + to }

// output names an output of a node as the file does: "parse", "parse.failed".
func output(node, port string) string {
	if port == "" {
		return node
	}
	return node + "." + port
}

// UnmarshalText reads the short form: a number of events.
func (b *Buffer) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(strings.ReplaceAll(string(text), "_", ""))
	if err == nil {
		b.Events = n
		return nil
	}
	fe := &pipe.FieldError{Err: fmt.Errorf("expected %s, got %s", b.Expects(), quoted(string(text)))}
	var size pipe.Size
	if _, err := strconv.ParseFloat(string(text), 64); err != nil && size.UnmarshalText(text) == nil {
		fe.Hint = fmt.Sprintf("a plain number means events; for bytes write {bytes: %s}", text)
	}
	return fe
}

// Expects describes the forms in YAML.
func (b *Buffer) Expects() string { return "a number of events or a mapping" }

// maxBuffer is the largest bound of an edge in events, as the tag of the field has it.
const maxBuffer = 100_000_000

// Validate checks that the edge is bounded.
func (b *Buffer) Validate() error {
	switch {
	case b.Events < 1:
		return &pipe.FieldError{Field: "events", Err: fmt.Errorf("must be at least 1, got %d", b.Events), Hint: "every edge needs room for an event"}
	case b.Events > maxBuffer:
		return &pipe.FieldError{Field: "events", Err: fmt.Errorf("must be at most %d, got %d", maxBuffer, b.Events)}
	case b.Bytes < 1:
		return &pipe.FieldError{Field: "bytes", Err: fmt.Errorf("must be at least 1, got %d", int64(b.Bytes)), Hint: "every edge needs room for an event"}
	}
	return nil
}
