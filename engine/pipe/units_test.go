package pipe

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	f := func(in string, want time.Duration, ok bool) {
		t.Helper()
		var d Duration
		if err := d.UnmarshalText([]byte(in)); (err == nil) != ok || ok && d.D() != want {
			t.Errorf("%q: got %v, %v; want %v, ok %v", in, d, err, want, ok)
		}
	}
	f("250ms", 250*time.Millisecond, true)
	f("1h30m", 90*time.Minute, true)
	f("2d", 48*time.Hour, true)
	f("0s", 0, true)
	f("5", 0, false)
	f("-1s", 0, false)
	f("soon", 0, false)
}

func TestSize(t *testing.T) {
	f := func(in string, want int64, text string) {
		t.Helper()
		var z Size
		if err := z.UnmarshalText([]byte(in)); err != nil || int64(z) != want || z.String() != text {
			t.Errorf("%q: got %d %q, %v; want %d %q", in, z, z, err, want, text)
		}
	}
	f("4096", 4096, "4KiB")
	f("16MiB", 16<<20, "16MiB")
	f("1.5KiB", 1536, "1536B")
	f("2 MB", 2_000_000, "2000000B")
	f("1_000", 1000, "1000B")
	f("0", 0, "0B")
	for _, bad := range []string{"", "x", "-1", "5 apples", "1e400", "NaN"} {
		var z Size
		if err := z.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, z)
		}
	}
}

func TestRate(t *testing.T) {
	f := func(in string, want float64) {
		t.Helper()
		var r Rate
		if err := r.UnmarshalText([]byte(in)); err != nil || float64(r) != want {
			t.Errorf("%q: got %v, %v; want %v", in, float64(r), err, want)
		}
	}
	f("1000/s", 1000)
	f("30/m", 0.5)
	f("1_000_000/s", 1e6)
	for _, bad := range []string{"", "10", "10/d", "-1/s", "x/s"} {
		var r Rate
		if err := r.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, r)
		}
	}
}
