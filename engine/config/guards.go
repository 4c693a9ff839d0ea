package config

import (
	"fmt"
	"reflect"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Defaults of what guards a sink.
const (
	DefaultBudgetRatio   = 0.1
	DefaultBudgetBurst   = 100
	DefaultFailureRatio  = 0.5
	DefaultWindow        = pipe.Duration(10 * time.Second)
	DefaultMinRequests   = 5
	DefaultWait          = pipe.Duration(5 * time.Second)
	DefaultMaxWait       = pipe.Duration(5 * time.Minute)
	DefaultFraction      = 0.02
	DefaultProbeInterval = pipe.Duration(time.Second)
	DefaultHalfOpen      = pipe.Duration(5 * time.Second)
	DefaultSuccesses     = 5
	DefaultRamp          = pipe.Duration(5 * time.Second)
)

// Retry says how a failed write is tried again. Only errors that may go away
// are; the wait before attempt n is Initial·2^(n-1), at most Max.
type Retry struct {
	// MaxAttempts is the most attempts, the first included. 0, the default,
	// means no limit: the sink holds the pipeline back until it works again.
	MaxAttempts int `yaml:"max_attempts" min:"0"`
	// MaxElapsed is the longest time from the first attempt to the last. 0, the
	// default, means no limit.
	MaxElapsed pipe.Duration `yaml:"max_elapsed"`
	// Initial is the wait before the second attempt. Default 250ms.
	Initial pipe.Duration `yaml:"initial" above:"0s"`
	// Max is the longest wait between two attempts. Default 30s.
	Max pipe.Duration `yaml:"max" above:"0s"`
	// Jitter is the part of each wait that is random, from 0 to 1. Default 1,
	// which keeps many clients from coming back at the same moment.
	Jitter float64 `yaml:"jitter" min:"0" max:"1"`
	// Budget bounds the retries of the sink as a whole, so that many writes which
	// fail at once do not keep the far side down.
	Budget Budget `yaml:"budget"`
}

// Budget bounds the retries of a sink as a whole.
type Budget struct {
	// Ratio is how many retries each write allows, once Burst is used up. Default
	// 0.1: one retry for ten writes.
	Ratio float64 `yaml:"ratio" above:"0" max:"1"`
	// Burst is how many retries may be made at once. It comes back within a
	// minute, so that a sink which is down is still tried. Default 100.
	Burst int `yaml:"burst" min:"1" max:"1000000"`
}

// Adaptive makes the size of a write follow how long it takes.
type Adaptive struct {
	// Target is how long one write should take. Full batches grow while they take
	// less, up to batch.events, and shrink when they take longer or time out.
	Target pipe.Duration `yaml:"target" required:"true" above:"0s"`
	// Min is the fewest events that a batch shrinks to, and where it begins.
	// Default 1.
	Min int `yaml:"min" min:"1"`
}

// RateLimit bounds what a sink sends, each attempt counted.
type RateLimit struct {
	// Rate is the most events per unit of time: 500/s, 30/m or 10/h. 0, the
	// default, means no limit in events.
	Rate pipe.Rate `yaml:"rate" above:"0/s"`
	// Burst is how many events may go at once after a quiet time. It also bounds
	// one write. The default, 0, means what comes in a second.
	Burst int `yaml:"burst" min:"1" max:"1000000000"`
	// Bytes is the most accounted bytes in a second. 0, the default, means no
	// limit in bytes.
	Bytes pipe.Size `yaml:"bytes" min:"1"`
	// BurstBytes is how many bytes may go at once after a quiet time. It also
	// bounds one write. The default, 0, means what comes in a second.
	BurstBytes pipe.Size `yaml:"burst_bytes" min:"1"`
}

// Validate checks that there is a limit.
func (r *RateLimit) Validate() error {
	switch {
	case r.Rate <= 0 && r.Bytes <= 0:
		return pipe.Fieldf("", "needs rate, bytes or both, such as {rate: 500/s}")
	case r.Rate <= 0 && r.Burst > 0:
		return pipe.Fieldf("burst", "needs rate: it is a number of events")
	case r.Bytes <= 0 && r.BurstBytes > 0:
		return pipe.Fieldf("burst_bytes", "needs bytes")
	}
	return nil
}

// Concurrency says how many writes of a sink go on at a time.
type Concurrency struct {
	// Max is the most writes at a time. With more than 1, events may arrive in
	// another order than they were read in. Default 1. The sink must bear it.
	Max int `yaml:"max" min:"1" max:"1024"`
	// Adaptive finds the best number between Min and Max: one more write at a time
	// as long as writes take no longer for it, a tenth fewer when they do, fail or
	// are asked to wait. Default false: always Max.
	Adaptive bool `yaml:"adaptive"`
	// Min is the fewest writes at a time that Adaptive goes down to, and where it
	// begins. Default 1.
	Min int `yaml:"min" min:"1"`
}

// Validate checks the bounds against each other.
func (c *Concurrency) Validate() error {
	switch most := max(1, c.Max); {
	case c.Adaptive && most < 2:
		return pipe.Fieldf("max", "adaptive needs a max of at least 2, got %d", most)
	case c.Min > most:
		return pipe.Fieldf("min", "must be at most max, %d, got %d", most, c.Min)
	}
	return nil
}

// What an open breaker does with a write.
const (
	OpenHold   = "hold"
	OpenFailed = "failed"
	OpenStop   = "stop"
)

// Breaker leaves a sink that fails alone for a while. It opens when enough of the
// attempts failed, lets nothing through for Wait, then a fraction (half-open),
// then more and more, and closes when all of that has worked.
type Breaker struct {
	// FailureRatio is the part of the attempts in Window that must have failed
	// to open it, above 0, at most 1. Default 0.5.
	FailureRatio float64 `yaml:"failure_ratio" above:"0" max:"1"`
	// Window is how far back attempts count. Default 10s.
	Window pipe.Duration `yaml:"window" min:"10ms"`
	// MinRequests is how many attempts in Window there must be at least to open
	// it. Default 5.
	MinRequests int `yaml:"min_requests" min:"1"`
	// Wait is how long it stays open the first time, and up to half as long again,
	// at random. Each time that it opens again before it has closed it stays open
	// twice as long. It is not shorter than a Retry-After of the far side. Default
	// 5s.
	Wait pipe.Duration `yaml:"wait" above:"0s"`
	// MaxWait is the longest that it stays open, whatever the far side asks for.
	// Default 5m.
	MaxWait pipe.Duration `yaml:"max_wait" above:"0s"`
	// WhenOpen says what happens to writes that it does not let through: hold (the
	// default) makes them wait, which is pressure and loses nothing; failed lets
	// their events leave through the port failed; stop ends the pipeline.
	WhenOpen string `yaml:"when_open" enum:"hold,failed,stop"`
	// HalfOpen says how it comes back.
	HalfOpen HalfOpen `yaml:"half_open"`
}

// Validate checks the waits against each other.
func (b *Breaker) Validate() error {
	if b.MaxWait > 0 && b.Wait > b.MaxWait {
		return pipe.Fieldf("max_wait", "must be at least wait, %v, got %v", b.Wait, b.MaxWait)
	}
	return nil
}

// HalfOpen says how a breaker finds out that the sink works again.
type HalfOpen struct {
	// Fraction is the part of the usual attempts that it lets through, 0.01 to
	// 0.05. Default 0.02.
	Fraction float64 `yaml:"fraction" min:"0.01" max:"0.05"`
	// ProbeInterval is how often it lets one through at least, however few come.
	// Default 1s.
	ProbeInterval pipe.Duration `yaml:"probe_interval" min:"1ms"`
	// MinTime is how long it is half-open at least. Default 5s.
	MinTime pipe.Duration `yaml:"min_time" above:"0s"`
	// Successes is how many attempts in a row must work before more are let
	// through. Any failure opens it again. Default 5.
	Successes int `yaml:"successes" min:"1"`
	// Ramp is how long each of the two steps between half-open and closed lasts at
	// least, in which 5 % and 25 % of the usual attempts are let through. Default 5s.
	Ramp pipe.Duration `yaml:"ramp" above:"0s"`
}

func (r *Retry) fill() {
	r.Initial = orDefault(r.Initial, pipe.Duration(DefaultRetryInitial))
	r.Max = orDefault(r.Max, max(r.Initial, pipe.Duration(DefaultRetryMax)))
	r.Budget.Ratio = orDefault(r.Budget.Ratio, DefaultBudgetRatio)
	r.Budget.Burst = orDefault(r.Budget.Burst, DefaultBudgetBurst)
}

func (a *Adaptive) fill() { a.Min = orDefault(a.Min, 1) }

func (c *Concurrency) fill() {
	c.Max = orDefault(c.Max, 1)
	c.Min = orDefault(c.Min, 1)
}

func (b *Breaker) fill() {
	b.FailureRatio = orDefault(b.FailureRatio, DefaultFailureRatio)
	b.Window = orDefault(b.Window, DefaultWindow)
	b.MinRequests = orDefault(b.MinRequests, DefaultMinRequests)
	first := DefaultWait
	if b.MaxWait > 0 {
		first = min(first, b.MaxWait)
	}
	b.Wait = orDefault(b.Wait, first)
	b.MaxWait = orDefault(b.MaxWait, max(b.Wait, DefaultMaxWait))
	b.WhenOpen = orDefault(b.WhenOpen, OpenHold)
	h := &b.HalfOpen
	h.Fraction = orDefault(h.Fraction, DefaultFraction)
	h.ProbeInterval = orDefault(h.ProbeInterval, DefaultProbeInterval)
	h.MinTime = orDefault(h.MinTime, DefaultHalfOpen)
	h.Successes = orDefault(h.Successes, DefaultSuccesses)
	h.Ramp = orDefault(h.Ramp, DefaultRamp)
}

// fillGuards sets the defaults of what guards a sink, or a stage that calls out.
func (n *Node) fillGuards() {
	n.Retry.fill()
	if n.Breaker != nil {
		n.Breaker.fill()
	}
}

// CallsOut reports whether the node is guarded: a sink, or a stage that calls out.
func (n *Node) CallsOut() bool {
	_, calls := n.Component.(pipe.Caller)
	return n.Kind == pipe.KindSink || n.Kind == pipe.KindStage && calls
}

// checkOutward refuses guards of a stage that has nobody to be guarded from.
func (s *scope) checkOutward(n *Node, component any) {
	if _, calls := component.(pipe.Caller); calls || n.Kind != pipe.KindStage {
		return
	}
	v, base := reflect.ValueOf(n).Elem(), reflect.ValueOf(NewNode(n.Kind, "", "", nil)).Elem()
	for _, f := range forKind(fieldsOf(v.Type()), n.Kind) {
		if _, written := s.places[f.name]; f.outward && (written || !reflect.DeepEqual(v.FieldByIndex(f.index).Interface(), base.FieldByIndex(f.index).Interface())) {
			s.fail(s.places.at(f.name, s.pos), f.name, "bad-value", "is an option of sinks and of stages that call out", "a stage of type "+n.Type+" calls nobody")
		}
	}
}

// checkHolder refuses several workers of a stage that holds events back: what one
// holds, another must not miss.
func (s *scope) checkHolder(n *Node, component any) {
	if _, holds := component.(pipe.Holder); holds && n.Workers > 1 {
		s.fail(s.places.at("workers", s.pos), "workers", "bad-value", fmt.Sprintf("must be 1, got %d", n.Workers), "a stage of type "+n.Type+" holds events back, which only one can do")
	}
}

// checkGuards checks the guards of a sink against each other and against the
// sink.
func (s *scope) checkGuards(n *Node) {
	if n.Kind != pipe.KindSink {
		return
	}
	if at := s.places.at("concurrency.max", s.pos); n.Concurrency.Max > 1 {
		bears, what := 1, "writes one batch at a time"
		if c, ok := n.Component.(pipe.Concurrent); ok {
			if bears = c.MaxConcurrent(); bears > 1 {
				what = "bears fewer writes at a time"
			}
		}
		if n.Concurrency.Max > bears {
			s.fail(at, "concurrency.max", "bad-value", fmt.Sprintf("must be at most %d, got %d", bears, n.Concurrency.Max), "a sink of type "+n.Type+" "+what)
		}
	}
	a := n.Batch.Adaptive
	if a == nil {
		return
	}
	at := s.places.at("batch.adaptive", s.pos)
	if n.Concurrency.Adaptive {
		s.fail(at, "batch.adaptive", "bad-value", "cannot be combined with concurrency.adaptive: both follow how long a write takes, and would fight each other", "leave one of them out")
	}
	if a.Min > n.Batch.Events {
		s.fail(s.places.at("batch.adaptive.min", s.pos), "batch.adaptive.min", "bad-value", fmt.Sprintf("must be at most batch.events, %d, got %d", n.Batch.Events, a.Min), "")
	}
}
