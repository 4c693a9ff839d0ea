package near

import "testing"

func TestWord(t *testing.T) {
	words := []string{"policy", "priority", "buffer", "on_drop", "in->out", "to"}
	f := func(word, want string) {
		t.Helper()
		if got := Word(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	f("polcy", "policy")
	f("ploicy", "policy") // a swap is one mistake
	f("OnDrop", "on_drop")
	f("on-drop", "on_drop")
	f("ot", "to")
	f("bufferr", "buffer")
	f("in->oot", "in->out")
	f("colour", "")
	f("", "")
}

func TestDistance(t *testing.T) {
	if d := distance("ab", "ba"); d != 1 {
		t.Errorf("a swap of neighbours counts %d", d)
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("kitten and sitting are %d apart", d)
	}
}
