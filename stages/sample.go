package stages

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
)

func init() { pipe.RegisterStage("sample", func() pipe.Stage { return &Sample{} }) }

// Sample hands on a part of the events and ends the others: they count as
// filtered and their source may forget them. An event that goes on carries the
// rate in its metadata, as sample_rate, multiplied by the rate of the samplings
// before: 1/sample_rate is how many events it stands for.
//
// Unlike the policy sample of an edge, this does not follow the load. Both choose
// keys alike: a key that the one keeps at a rate, the other keeps at that rate.
// For that reason two samplings by the same key keep the lower of their rates,
// not the product that sample_rate then says: sample by a key in one place.
//
// Example:
//
//	type: sample
//	rate: 0.05
//	key: trace_id
type Sample struct {
	// Rate is the share of the events that goes on, above 0 and up to 1: 0.1 is
	// one in ten. Without a key chance decides about each event.
	Rate float64 `yaml:"rate" required:"true" above:"0" max:"1"`

	// Key makes events of the same key share their fate, on every machine and
	// after every restart; lowering the rate only removes keys. Text and numbers
	// are compared as they are written: 7 and "7" are one key. Chance decides
	// about an event without a key: nil, or one that cannot be evaluated.
	Key expr.Value `yaml:"key"`

	below uint64 // hashes below it are kept, unless rate is 1
}

// Validate checks the rate.
func (s *Sample) Validate() error {
	if !(s.Rate > 0 && s.Rate <= 1) {
		return fieldError("rate", "such as 0.1 for one in ten", "must be above 0 and at most 1, got %v", s.Rate)
	}
	return nil
}

// Open computes the limit of the hashes.
func (s *Sample) Open(context.Context, pipe.Env) error {
	s.below = uint64(math.Ldexp(min(s.Rate, 1-0x1p-53), 64))
	return nil
}

// Process keeps an event or ends it.
func (s *Sample) Process(_ context.Context, in []*pipe.Event, out *pipe.Out) error {
	scratch := out.Scratch()
	own := pipe.FormatSampleRate(s.Rate)
	for _, e := range in {
		switch {
		case s.Rate == 1:
			out.Emit(e)
		case s.keeps(e, out, scratch):
			rate, again := pipe.SampledBefore(e, s.Rate)
			if !again {
				rate = own
			}
			e.SetMeta(pipe.SampleRate, rate)
			out.Emit(e)
		default:
			out.Filter(e)
		}
	}
	out.KeepScratch(scratch)
	return nil
}

func (s *Sample) keeps(e *pipe.Event, out *pipe.Out, scratch []byte) bool {
	if !s.Key.IsZero() {
		if v, err := s.Key.Eval(e, &out.Arena); err == nil {
			if key, ok := v.Key(scratch); ok {
				return pipe.HashKey(key) < s.below
			}
		}
	}
	return rand.Float64() < s.Rate
}
