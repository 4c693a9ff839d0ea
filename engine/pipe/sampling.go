package pipe

import "strconv"

// SampleRate is the metadata key that carries the rate at which a sampled event was
// kept, so that sums can be weighted by its inverse. An event that was sampled
// several times, by edges or stages, carries the product of the rates.
const SampleRate = "sample_rate"

// HashKey hashes the key of an event for consistent sampling: FNV-1a of 64 bits
// and MurmurHash3's finaliser. An event is kept when the hash is below rate * 2^64,
// so lowering the rate only ever removes keys, the same ones on every machine.
func HashKey[T string | []byte](key T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// SampledBefore returns the SampleRate of an event that is kept at rate and was
// sampled before; ok is false when it was not, and the rate is its own.
func SampledBefore(e *Event, rate float64) (text string, ok bool) {
	before, ok := e.Meta(SampleRate)
	if !ok {
		return "", false
	}
	f, err := strconv.ParseFloat(before, 64)
	if err != nil || !(f > 0 && f <= 1) {
		return "", false
	}
	return FormatSampleRate(f * rate), true
}

// FormatSampleRate writes a rate with at most six significant digits.
func FormatSampleRate(rate float64) string {
	s := strconv.FormatFloat(rate, 'g', 6, 64)
	if f, err := strconv.ParseFloat(s, 64); err == nil { // without trailing zeros
		s = strconv.FormatFloat(f, 'g', -1, 64)
	}
	return s
}
