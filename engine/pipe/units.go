package pipe

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span in YAML: 250ms, 5s, 1h30m, 2d. It must carry a unit.
type Duration time.Duration

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n <= 36500 {
			*d = Duration(n * 24 * float64(time.Hour))
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number and a unit, such as 250ms, 5s or 1h", s)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", s)
	}
	*d = Duration(v)
	return nil
}

// D returns the standard library's duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText renders the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes in YAML: 4096, 64KiB, 16MiB, 1GiB (powers of 1024)
// or 64KB, 16MB (powers of 1000).
type Size int64

var sizeUnits = []struct {
	name string
	n    float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText parses a size.
func (z *Size) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		num, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(num), "_", ""), 64)
		if err != nil || n < 0 || n*u.n > math.MaxInt64/2 || n != n {
			break
		}
		*z = Size(n * u.n)
		return nil
	}
	return fmt.Errorf("%q is not a size: write bytes with a unit, such as 64KiB or 16MiB", s)
}

func (z Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; float64(z) >= u.n && float64(z) == math.Trunc(float64(z)/u.n)*u.n {
			return strconv.FormatInt(int64(float64(z)/u.n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10) + "B"
}

// MarshalText renders the size as UnmarshalText reads it.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// Rate is a frequency in YAML: 1000/s, 30/m, 5/h. Its value is per second.
type Rate float64

// UnmarshalText parses a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	num, unit, ok := strings.Cut(s, "/")
	per, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	n, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(num), "_", ""), 64)
	if !ok || !known || err != nil || n < 0 || math.IsInf(n, 0) || n != n {
		return fmt.Errorf("%q is not a rate: write a number and a unit of time, such as 1000/s or 30/m", s)
	}
	*r = Rate(n / per)
	return nil
}

func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText renders the rate as UnmarshalText reads it.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// OrderedMap is a YAML mapping whose order matters (route cases, map fields).
type OrderedMap[V any] []Pair[V]

// Pair is one entry of an OrderedMap.
type Pair[V any] struct {
	Key   string
	Value V
}

// Get returns the value of key, and whether it is there.
func (m OrderedMap[V]) Get(key string) (V, bool) {
	for _, p := range m {
		if p.Key == key {
			return p.Value, true
		}
	}
	var zero V
	return zero, false
}
