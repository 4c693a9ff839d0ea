package pipe

import "testing"

func TestParseTraceParent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	f := func(in string, ok, sampled bool) {
		t.Helper()
		c, got := ParseTraceParent(in)
		if got != ok {
			t.Errorf("%q: got %v, want %v", in, got, ok)
		}
		if !ok {
			return
		}
		flags := map[bool]string{true: "01", false: "00"}[sampled]
		if want := "00-" + trace + "-" + span + "-" + flags; c.String() != want {
			t.Errorf("%q: got %q, want %q", in, c, want)
		}
	}
	f("00-"+trace+"-"+span+"-01", true, true)
	f("00-"+trace+"-"+span+"-00", true, false)
	f("00-"+trace+"-"+span+"-03", true, true)
	f("00-"+trace+"-"+span+"-fe", true, false)
	f("cc-"+trace+"-"+span+"-01", true, true)
	f("cc-"+trace+"-"+span+"-01-what-comes-later", true, true)
	f("cc-"+trace+"-"+span+"-01what", false, false)
	f("00-"+trace+"-"+span+"-01-more", false, false)
	f("00-"+trace+"-"+span+"-0", false, false)
	f("00-"+trace+"-"+span+"-0g", false, false)
	f("00-"+trace+"-"+span+"_01", false, false)
	f("00_"+trace+"-"+span+"-01", false, false)
	f("00-"+trace+"_"+span+"-01", false, false)
	f("ff-"+trace+"-"+span+"-01", false, false)
	f("0G-"+trace+"-"+span+"-01", false, false)
	f("00-0AF7651916cd43dd8448eb211c80319c-"+span+"-01", false, false)
	f("00-"+trace+"-B7ad6b7169203331-01", false, false)
	f("00-00000000000000000000000000000000-"+span+"-01", false, false)
	f("00-"+trace+"-0000000000000000-01", false, false)
	f("", false, false)
	f("00", false, false)
}

func BenchmarkParseTraceParent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseTraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	}
}
