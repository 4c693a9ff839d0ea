package sources

import (
	"errors"
	"math"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	tick    = 10 * time.Millisecond // what was missed longer ago is skipped
	batchUp = time.Millisecond      // fast rates come in batches of this
	horizon = time.Second           // how far ahead the next event is looked for
)

// Pace is how many events there are per second, and how that changes: a rate
// such as 1000/s, or a mapping with a curve.
type Pace struct {
	// Curve is the shape: constant at rate; ramp, straight from from to to within
	// over, and constant from then on; burst, at from, and during the last part of
	// each over, as long as for, at to; sine, up and down between from and to, once
	// per over, beginning at from.
	Curve string `yaml:"curve" enum:"constant,ramp,burst,sine"`
	// Rate is the rate of the curve constant.
	Rate pipe.Rate `yaml:"rate"`
	// From is the rate at the start, or between bursts; the lowest of sine.
	From pipe.Rate `yaml:"from"`
	// To is the rate at the end of a ramp, during bursts; the highest of sine.
	To pipe.Rate `yaml:"to"`
	// Over is how long a ramp takes, or the period of burst and sine.
	Over pipe.Duration `yaml:"over"`
	// For is how long each burst lasts, less than over.
	For pipe.Duration `yaml:"for"`
}

// UnmarshalText reads the short form: a constant rate.
func (p *Pace) UnmarshalText(text []byte) error {
	*p = Pace{Curve: "constant"}
	return p.Rate.UnmarshalText(text)
}

// unlimited reports whether no rate is set.
func (p *Pace) unlimited() bool { return *p == Pace{} }

// Validate checks the fields. A Pace without any is unlimited.
func (p *Pace) Validate() error {
	if p.unlimited() {
		return nil
	}
	field := func(bad bool, name, problem string) error {
		if bad {
			return pipe.Fieldf(name, "%s", problem)
		}
		return nil
	}
	switch p.Curve {
	case "", "constant":
		return errors.Join(
			field(p.Rate <= 0, "rate", "must be above 0; leave the rate out for as fast as possible"),
			field(p.From != 0, "from", "the curve constant has only a rate"),
			field(p.To != 0, "to", "the curve constant has only a rate"),
			field(p.Over != 0, "over", "the curve constant has only a rate"),
			field(p.For != 0, "for", "only the curve burst has it"))
	case "ramp", "burst", "sine":
		return errors.Join(
			field(p.Rate != 0, "rate", "only the curve constant has it; write from and to"),
			field(p.To <= 0, "to", "must be above 0"),
			field(p.Curve == "sine" && p.From > p.To, "from", "must not be above to"),
			field(p.Over.D() < time.Millisecond, "over", "must be at least 1ms"),
			field(p.Curve != "burst" && p.For != 0, "for", "only the curve burst has it"),
			field(p.Curve == "burst" && (p.For <= 0 || p.For >= p.Over), "for", "must be above 0 and less than over"))
	}
	return pipe.Fieldf("curve", "%q is none of constant, ramp, burst, sine", p.Curve)
}

// due returns how many events there are in the first t of the curve.
func (p *Pace) due(t time.Duration) float64 {
	s, over, from, to := max(0, t.Seconds()), p.Over.D().Seconds(), float64(p.From), float64(p.To)
	switch p.Curve {
	case "ramp":
		x := min(s, over)
		return from*x + (to-from)*x*x/(2*over) + to*(s-x)
	case "burst":
		quiet := over - p.For.D().Seconds()
		n := math.Floor(s / over)
		x := s - n*over
		return n*(from*quiet+to*(over-quiet)) + from*min(x, quiet) + to*max(0, x-quiet)
	case "sine":
		w := 2 * math.Pi / over
		return (from+to)/2*s - (to-from)/2*math.Sin(w*s)/w
	}
	return float64(p.Rate) * s
}

// reach returns when after t there are n events, at most horizon later.
func (p *Pace) reach(n float64, t time.Duration) time.Duration {
	lo, hi := t, t+horizon
	if p.due(hi) < n {
		return hi
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; p.due(mid) < n {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// pacer says how many events are due now. What could not be made in time, since
// nobody asked, is skipped: the rate is never made up for by a burst.
type pacer struct {
	pace    Pace
	start   time.Time
	last    time.Duration // when events were last handed out
	passed  int64         // events made and skipped
	skipped int64
}

// take returns how many events are due, at most most; or 0 and when to ask again.
func (p *pacer) take(now time.Time, most int64) (n int64, wait time.Duration) {
	if p.pace.unlimited() {
		p.passed += most
		return most, 0
	}
	t := now.Sub(p.start)
	due := 1 + p.pace.due(t) // the first one is due at once
	n = int64(due) - p.passed
	inTick := due
	if t > tick {
		inTick = due - 1 - p.pace.due(t-tick)
	}
	if missed := n - int64(math.Ceil(max(1, inTick))); missed > 0 {
		p.passed += missed
		p.skipped += missed
		n -= missed
	}
	together := int64(p.pace.due(t+batchUp) - p.pace.due(t))
	if n >= max(1, together) || n > 0 && t-p.last >= batchUp {
		n = min(n, most)
		p.passed += n
		p.last = t
		return n, 0
	}
	next := p.pace.reach(float64(p.passed), t)
	if together > 1 {
		next = max(next, p.last+batchUp)
	}
	return 0, next - t
}
