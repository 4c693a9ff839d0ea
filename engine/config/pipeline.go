// Package config turns a YAML file into a typed pipeline and positioned
// diagnostics. It is the only package that sees the YAML library.
//
// A file is read in passes, and every mistake of every pass is reported at
// once: text (encoding, size), YAML (one document, aliases, merge keys), --set,
// expansion of ${...}, decoding by the struct tags of the components, and the
// graph. A mistake in one node does not hide those in another.
package config

import (
	"reflect"
	"slices"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

// Pipeline is a whole file, decoded and checked. A program may also build one
// by hand: fill the exported fields, then call Complete.
type Pipeline struct {
	// File is the name of the file, for messages. It may be empty.
	File string `yaml:"-"`
	// Version of the file format. There is one: 1, also when it is left out.
	Version int `yaml:"version"`
	// Name of the pipeline, in metrics, logs and the receipt. It begins with a
	// letter or digit; letters, digits and . _ - may follow. Default: the name
	// of the file without its extension.
	Name string `yaml:"name"`
	// Description says what the pipeline is for.
	Description string `yaml:"description"`
	// Limits bound the pipeline as a whole.
	Limits Limits `yaml:"limits"`
	// Shutdown says how the pipeline ends.
	Shutdown Shutdown `yaml:"shutdown"`
	// Admin is the HTTP endpoint for health, metrics and changes.
	Admin Admin `yaml:"admin"`
	// Tracing sends OpenTelemetry spans.
	Tracing Tracing `yaml:"tracing"`

	// Sources, Stages and Sinks are the nodes, in the order of the file.
	Sources, Stages, Sinks []*Node
	// Edges connect the nodes, in the order of the file.
	Edges []*Edge

	places  places
	text    sourceText
	sets    []string
	secrets secrets
	unread  unread
}

// unread is what could not be decoded and is reported already. What the rest of
// the file lacks because of it is not reported again.
type unread struct {
	sections map[string]bool // sources, stages, sinks, edges
	names    map[string]bool // nodes named by edges that could not be read
}

// Limits bound the pipeline as a whole.
type Limits struct {
	// Memory is the most that all edges and in-flight windows may hold in the
	// worst case; a configuration that could hold more is refused. 0, the
	// default, means no limit.
	Memory pipe.Size `yaml:"memory"`
	// MaxEventBytes is the largest payload of one event. Larger input fails at
	// the source. Default 8MiB, at most 1GiB.
	MaxEventBytes pipe.Size `yaml:"max_event_bytes" min:"1" max:"1GiB"`
	// StallAfter is how long nothing may move while events are in flight until the
	// pipeline counts as stalled: it says in its log who waits for whom, and is not
	// ready any more. What waits because it was told so (a rate limit, an open
	// breaker, a delay) does not count. Default 1m.
	StallAfter pipe.Duration `yaml:"stall_after" above:"0s"`
}

// Shutdown says how the pipeline ends.
type Shutdown struct {
	// Timeout is how long a drain may take after the first signal; what is open
	// then goes back to the sources. Default 25s.
	Timeout pipe.Duration `yaml:"timeout" above:"0s"`
}

// Admin is the HTTP endpoint for health, metrics and changes.
type Admin struct {
	// Listen is the address, such as 127.0.0.1:9464. Empty, the default, means
	// no endpoint. An address that others can reach needs a token.
	Listen string `yaml:"listen"`
	// Token is what clients must send as a bearer token. Empty means none.
	Token string `yaml:"token" secret:"true"`
	// TLS makes the endpoint speak HTTPS.
	TLS AdminTLS `yaml:"tls"`
}

// AdminTLS are the files for HTTPS at the admin endpoint, in PEM.
type AdminTLS struct {
	// Cert is the file with the server's certificate and its chain.
	Cert string `yaml:"cert"`
	// Key is the file with the certificate's private key.
	Key string `yaml:"key"`
	// ClientCA is the file with the authorities of client certificates. With it
	// only clients with such a certificate are let in.
	ClientCA string `yaml:"client_ca"`
}

// Tracing sends OpenTelemetry spans of events that arrive with a trace context.
type Tracing struct {
	// Endpoint is the URL of an OTLP/HTTP collector, such as
	// http://127.0.0.1:4318; /v1/traces is added. Empty, the default, means no
	// tracing.
	Endpoint string `yaml:"endpoint"`
	// Ratio is the share of the events without a trace context for which their
	// source begins a new trace, 0 to 1. Default 0: only events that are traced
	// already.
	Ratio float64 `yaml:"ratio" min:"0" max:"1"`
	// Headers are sent with each export, for authentication. They are never printed.
	Headers map[string]string `yaml:"headers" secret:"true"`
}

// What a failure does when the node's failed port has no edge.
const (
	OnErrorStop = "stop"
	OnErrorDrop = "drop"
)

// Node is a source, a stage or a sink: a component and what the engine adds to
// it. Make one by hand with NewNode, which sets the defaults.
type Node struct {
	Name string    `yaml:"-"`
	Kind pipe.Kind `yaml:"-"`
	// Type of the component, as registered.
	Type string `yaml:"type" required:"true" kinds:"source,stage,sink"`
	// Component is the decoded and validated struct.
	Component any `yaml:"-"`

	// OnError says what to do with an event that failed when no edge leads from
	// the failed port: stop the pipeline (the default) or drop the event and
	// count it.
	OnError string `yaml:"on_error" enum:"stop,drop" kinds:"source,stage,sink"`
	// MaxInFlight bounds the events of a source that are not settled yet. By
	// default only the edges bound them.
	MaxInFlight Window `yaml:"max_in_flight" kinds:"source"`
	// Workers is how many goroutines run the stage. Default 1.
	Workers int `yaml:"workers" kinds:"stage" min:"1" max:"1024"`
	// Ordered keeps the order of events with workers above 1. Default true;
	// false is faster when a few events are slow.
	Ordered bool `yaml:"ordered" kinds:"stage"`
	// Timeout bounds one call of the stage, or one attempt of the sink. 0, the
	// default, means no bound.
	//
	// A call that goes on for a second after that is left behind: its events have
	// failed, its result is thrown away when it comes, and another worker takes
	// its place. What keeps events (batch) cannot be replaced: it ends the pipeline.
	Timeout pipe.Duration `yaml:"timeout" kinds:"stage,sink"`
	// MaxStuck is how many calls that ignored their Timeout may be left behind at a
	// time. One more ends the pipeline. Default 4.
	MaxStuck int `yaml:"max_stuck" kinds:"stage,sink" min:"1" max:"1024"`
	// Batch makes the sink wait for more events before it writes. Without it
	// what is there is written at once.
	Batch Batch `yaml:"batch" kinds:"sink"`
	// Deadline is the age at which an event is given up, counted from when its
	// source has read it: it then fails instead of being written. An attempt that
	// has begun is not cut short as long as one of its events is younger. 0, the
	// default, means never. Of stages, only those that call out have it.
	Deadline pipe.Duration `yaml:"deadline" kinds:"stage,sink" outward:"true"`
	// Retry says how often a write that may succeed later is tried again. Of
	// stages, only those that call out have it.
	Retry Retry `yaml:"retry" kinds:"stage,sink" outward:"true"`
	// Breaker leaves the sink alone for a while when it fails. Without it, the
	// default, only the waits between retries do. Of stages, only those that call
	// out have it.
	Breaker *Breaker `yaml:"breaker" kinds:"stage,sink" outward:"true"`
	// RateLimit bounds what the sink sends per unit of time. By default nothing
	// does. Of stages, only those that call out have it.
	RateLimit *RateLimit `yaml:"rate_limit" kinds:"stage,sink" outward:"true"`
	// Concurrency says how many writes go on at a time. Default 1.
	Concurrency Concurrency `yaml:"concurrency" kinds:"sink"`
	// DeadLetters says from when on failures are an outage rather than bad events:
	// then they are held back instead of leaving through the failed port.
	DeadLetters DeadLetters `yaml:"dead_letters" kinds:"stage,sink"`

	// Ports are the outputs of a router, nil for all others.
	Ports []pipe.Port `yaml:"-"`
	// Pos is the place of the node's name.
	Pos Pos `yaml:"-"`

	places places
	broken bool // its mistakes are reported; its component cannot be asked
}

// Window bounds what a source has handed over and is not settled; 0 is no bound.
type Window struct {
	// Events is the most unsettled events. 0, the default, means no bound.
	Events int `yaml:"events" min:"1"`
	// Bytes is the most accounted bytes of unsettled events. 0, the default,
	// means no bound.
	Bytes pipe.Size `yaml:"bytes" min:"1"`
}

// Batch says how many events one write of a sink gets.
type Batch struct {
	// Events is the most events of one write. Default 1024.
	Events int `yaml:"events" min:"1" max:"1000000"`
	// Bytes is the most accounted bytes of one write; a larger event is written
	// alone. Default 4MiB.
	Bytes pipe.Size `yaml:"bytes" min:"1"`
	// Interval is how long a write waits for more events. Default 1s; 0s means
	// that what is there is written at once.
	Interval pipe.Duration `yaml:"interval"`
	// Adaptive makes the size of a write follow how long it takes, below Events.
	// By default it does not.
	Adaptive *Adaptive `yaml:"adaptive"`
}

// Edge is a bounded buffer between two nodes.
type Edge struct {
	// ID is the name, or "from->to" as in "keep->shape", "parse.failed->bad".
	ID string `yaml:"-"`
	// From and To are names of nodes; Port is the output of From: "" for the
	// main one, "failed", or a port of a router.
	From, Port, To string `yaml:"-"`
	// Name replaces the id "from->to". Letters a-z, digits, _ and -.
	Name string `yaml:"name"`

	EdgeSettings `yaml:",inline"`

	// Pos is the place of the edge in the file.
	Pos Pos `yaml:"-"`

	places places
}

// EdgeSettings are the bounds and the policy of an edge: what can change while
// the pipeline runs.
type EdgeSettings struct {
	// Buffer bounds the edge. A plain number means events.
	Buffer Buffer `yaml:"buffer"`
	// Policy says what happens when an event does not fit. Default block.
	Policy Policy `yaml:"policy"`
	// OnDrop says what the source is told about an event that this edge drops:
	// ack (the default), or nack, and the source sends it again or tells its
	// client.
	OnDrop string `yaml:"on_drop" enum:"ack,nack"`
	// Priority decides between several edges into one node: higher comes first,
	// with a share kept for the others. 0 to 9, default 0.
	Priority int `yaml:"priority" min:"0" max:"9"`
	// OnShrink says what happens to queued events over a bound that is lowered
	// while the pipeline runs: keep (the default) or evict the oldest.
	OnShrink string `yaml:"on_shrink" enum:"keep,evict"`
}

// Buffer bounds an edge.
type Buffer struct {
	// Events is the most queued events. Default 1024.
	Events int `yaml:"events" min:"1" max:"100000000"`
	// Bytes is the most queued bytes; a larger event is admitted alone into an
	// empty edge. Default 16MiB.
	Bytes pipe.Size `yaml:"bytes" min:"1"`
	// Age drops an event that is older when it is taken. 0, the default, means
	// never.
	Age pipe.Duration `yaml:"age"`
}

// The policies.
const (
	Block      = "block"
	DropOldest = "drop-oldest"
	DropNewest = "drop-newest"
	DropRandom = "drop-random"
	Sample     = "sample"
	Fail       = "fail" // only as Then
)

// Policy says what happens when an event does not fit into an edge. In YAML it
// is a name, or a mapping with options.
type Policy struct {
	// Type is block, drop-oldest, drop-newest, drop-random or sample.
	Type string `yaml:"type"`
	// Timeout is how long a producer waits at a blocking edge before Then. 0,
	// the default, means as long as it takes.
	Timeout pipe.Duration `yaml:"timeout"`
	// Then is what happens after Timeout: drop-newest (the default),
	// drop-oldest, or fail, which stops the pipeline.
	Then string `yaml:"then"`
	// BaseRate is the share of events kept while the edge is below Threshold,
	// above 0, at most 1. Default 1.
	BaseRate float64 `yaml:"base_rate"`
	// MinRate is the share kept when the edge is full, above 0, at most
	// BaseRate. Default 0.01.
	MinRate float64 `yaml:"min_rate" above:"0"`
	// Threshold is the load from which fewer events are kept, 0 up to but not
	// including 1. Default 0.8.
	Threshold float64 `yaml:"threshold"`
	// Key is an expression: events with the same key have the same fate, on
	// every machine. Without it every event is decided on its own.
	Key *expr.Value `yaml:"key"`
}

// places says where the parts of something are in the file.
type places map[string]Pos

// at returns the place of path, or of the nearest part around it.
func (ps places) at(path string, fallback Pos) Pos {
	for {
		if p, ok := ps[path]; ok {
			return p
		}
		if path = parentPath(path); path == "" {
			return fallback
		}
	}
}

// At returns the place of a part of the node by its YAML path, such as
// "batch.events"; of the nearest part around it when the file does not give it.
func (n *Node) At(path string) Pos { return n.places.at(path, n.Pos) }

// IsSet reports whether the file gives the part of the node.
func (n *Node) IsSet(path string) bool { _, ok := n.places[path]; return ok }

// Option returns the value of a key of the node's component, by its name in
// YAML, and whether the component has such a key.
func (n *Node) Option(key string) (any, bool) {
	v := reflect.ValueOf(n.Component)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, false
	}
	fv, _, ok := find(key, []target{{v.Elem(), fieldsOf(v.Elem().Type())}})
	if !ok {
		return nil, false
	}
	return fv.Interface(), true
}

// At returns the place of a part of the edge, such as "buffer.events".
func (e *Edge) At(path string) Pos { return e.places.at(path, e.Pos) }

// IsSet reports whether the file gives the part on this edge. What it has from
// defaults.edge is not.
func (e *Edge) IsSet(path string) bool { _, ok := e.places[path]; return ok }

// At returns the place of a part of the file's top level, such as
// "limits.memory".
func (p *Pipeline) At(path string) Pos { return p.places.at(path, p.top()) }

// IsSet reports whether the file gives the part of the top level.
func (p *Pipeline) IsSet(path string) bool { _, ok := p.places[path]; return ok }

// top is the place of what is about the whole file.
func (p *Pipeline) top() Pos {
	if len(p.text.lines) == 0 {
		return Pos{}
	}
	return Pos{Line: 1, Col: 1}
}

// Nodes returns all nodes: sources, stages, sinks.
func (p *Pipeline) Nodes() []*Node { return slices.Concat(p.Sources, p.Stages, p.Sinks) }

// Node returns the node of that name, or nil.
func (p *Pipeline) Node(name string) *Node {
	for _, n := range p.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Edge returns the edge of that id, or nil.
func (p *Pipeline) Edge(id string) *Edge {
	for _, e := range p.Edges {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// Redact returns text with every value that came from a secret replaced by ***.
// Values shorter than four characters are left. It is safe for concurrent use.
func (p *Pipeline) Redact(text string) string { return p.secrets.redact(text) }

// Diagnostic makes a diagnostic at a place of this pipeline's file.
func (p *Pipeline) Diagnostic(at Pos, s Severity, code, message, hint string) Diagnostic {
	r := p.reporter()
	d := r.diagnostic(at, s, code, message, hint)
	r.clean(&d)
	return d
}

// reporter makes a reporter for this pipeline's file.
func (p *Pipeline) reporter() *reporter {
	file := p.File
	if file == "" {
		file = "pipeline"
	}
	return &reporter{file: file, text: p.text, sets: p.sets, secrets: p.secrets.clone()}
}
