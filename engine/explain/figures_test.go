package explain

import "testing"

func TestFigures(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(figure(0), "0")
	f(figure(.05234), "0.0523")
	f(figure(.5), "0.5")
	f(figure(9.996), "10")
	f(figure(84.56), "84.6")
	f(figure(99.96), "100")
	f(figure(100), "100")
	f(figure(8449.6), "8,450")
	f(figure(1234567), "1,230,000")
	f(percent(0), "0 %")
	f(percent(.004), "<1 %")
	f(percent(.414), "41 %")
	f(percent(.997), ">99 %")
	f(percent(1), "100 %")
	f(span(45e-6), "45 µs")
	f(span(.9999e-3), "1 ms")
	f(span(.0118), "11.8 ms")
	f(span(.9999), "1 s")
	f(span(2.14), "2.1 s")
	f(span(119), "119 s")
	f(span(600), "10 min")
	f(count(1, "event"), "1 event")
	f(count(1234, "event"), "1,234 events")
	f(list([]string{"a"}), "a")
	f(list([]string{"a", "b"}), "a and b")
	f(list([]string{"a", "b", "c", "d"}), "a, b, c and d")
	f(list([]string{"a", "b", "c", "d", "e"}), "a, b, c and 2 more")
}
