package stages

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newRedact(change func(*Redact)) *Redact {
	c, _ := pipe.Lookup(pipe.KindStage, "redact")
	r := c.New().(*Redact)
	change(r)
	return r
}

func looking(names ...string) func(*Redact) { return func(r *Redact) { r.Patterns = names } }

func regexes(t testing.TB, pairs ...string) (m pipe.OrderedMap[Regexp]) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, pipe.Pair[Regexp]{Key: pairs[i], Value: Regexp{regexp.MustCompile(pairs[i+1])}})
	}
	return m
}

func TestRedactFields(t *testing.T) {
	f := func(action, in, want string, fields ...string) {
		t.Helper()
		r := newRedact(func(r *Redact) { r.Action, r.Fields = action, fields })
		same(t, action+" "+in, run(t, r, in).Emitted[""], []string{want})
	}
	f("mask", `{"a":1,"b":{"c":"x","d":2}}`, `{"a":1,"b":{"c":"***","d":2}}`, "b.c", "gone", "b.gone.x")
	f("mask", `{"a":{"b":[1]},"c":null,"d":true}`, `{"a":"***","c":"***","d":"***"}`, "a", "c", "d")
	f("mask", `{"a":["x","y"]}`, `{"a":["x","***"]}`, "a[1]")
	f("mask", `secret line`, `***`, "message")
	f("mask", `secret line`, `secret line`, "other")
	f("remove", `{"a":1,"b":{"c":"x","d":2}}`, `{"b":{"d":2}}`, "b.c", "a")
	f("remove", `secret line`, `{}`, "message")
	r := newRedact(func(r *Redact) { r.Fields, r.Mask = []string{"a"}, `"hidden"` })
	same(t, "own mask", run(t, r, `{"a":1}`).Emitted[""], []string{`{"a":"\"hidden\""}`})
}

func TestRedactHash(t *testing.T) {
	const salt = "0123456789abcdef"
	want := func(text string) string {
		m := hmac.New(sha256.New, []byte(salt))
		m.Write([]byte(text))
		return hex.EncodeToString(m.Sum(nil))
	}
	f := func(in, out string) {
		t.Helper()
		r := newRedact(func(r *Redact) {
			r.Action, r.Salt, r.Fields, r.Patterns = "hash", salt, []string{"user"}, []string{"email"}
		})
		same(t, in, run(t, r, in).Emitted[""], []string{out})
	}
	f(`{"user":"\u0061nna","n":1}`, `{"user":"`+want("anna")+`","n":1}`)
	f(`{"user":17}`, `{"user":"`+want("17")+`"}`)
	f(`{"text":"to a@example.org, b@example.org"}`, `{"text":"to `+want("a@example.org")+`, `+want("b@example.org")+`"}`)
	f(`from a@example.org`, `from `+want("a@example.org"))
}

func TestRedactFinds(t *testing.T) {
	f := func(pattern, in, want string) {
		t.Helper()
		same(t, pattern+" in "+in, run(t, newRedact(looking(pattern)), in).Emitted[""], []string{want})
	}
	f("email", "mail anna.b+c@mail.example.co.uk, now", "mail ***, now")
	f("email", "<a@b.io>;c@d.org.", "<***>;***.")
	f("email", "müller@exämple.de", "***")
	f("email", "user@host @b.com a@ b@.com c@d. e@1.2 x@y..com", "user@host @b.com a@ b@.com c@d. e@1.2 x@y..com")
	f("email", "a@b@c.de", "a@***")
	f("email", "a@b.c1 a@b.1c a@b.c mailto:a@b.cc/x", "*** a@b.1c a@b.c mailto:***/x")
	f("ipv4", "10.0.0.1 and 255.255.255.255:80, 256.1.1.1", "*** and ***:80, 256.1.1.1")
	f("ipv4", "v1.2.3.4.5 10.0.0.1.443 1..10.0.0.1 1.2.3 1.2.3.1234 0010.1.1.1", "v***.5 ***.443 1..*** 1.2.3 1.2.3.1234 0010.1.1.1")
	f("ipv4", "999.10.0.0.1", "999.***")
	f("credit_card", "4111111111111111 4111-1111-1111-1111 4111 1111 1111 1111!", "*** *** ***!")
	f("credit_card", "amex 378282246310005, mc 5555555555554444, new mc 2223003122003222", "amex ***, mc ***, new mc ***")
	f("credit_card", "4111111111111112 41111111111111111 1700000000000", "4111111111111112 41111111111111111 1700000000000")
	f("credit_card", "order 12 4111 1111 1111 1111 35 items", "order 12 *** 35 items")
	f("credit_card", "0000000000000000 4111  1111 1111 1111", "0000000000000000 4111  1111 1111 1111")
	f("jwt", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_x end", "Bearer *** end")
	f("jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0. eyJhbGciOiJub25lIn0 eyJ.eyJ.x", "*** eyJhbGciOiJub25lIn0 eyJ.eyJ.x")
}

func TestRedactLooksEverywhere(t *testing.T) {
	f := func(change func(*Redact), in, want string) {
		t.Helper()
		same(t, in, run(t, newRedact(change), in).Emitted[""], []string{want})
	}
	both := looking("email", "credit_card")
	f(both, `{"a@b.io":"x","l":[{"m":["a@b.io",1]}],"t":"it's a@b.io"}`, `{"a@b.io":"x","l":[{"m":["***",1]}],"t":"it's ***"}`)
	f(both, `{"a":"a\u0040b.io \"\\ \n"}`, `{"a":"*** \"\\ \n"}`)
	f(both, `{"card":4111111111111111,"n":-4111111111111111,"x":1e5}`, `{"card":"***","n":"-***","x":1e5}`)
	f(both, `{ "a" : "a@b.io" , "b" : "c" }`, `{ "a" : "***" , "b" : "c" }`)
	f(both, `{ "a" :1.0, "b":"\u0041" }`, `{ "a" :1.0, "b":"\u0041" }`)
	f(func(r *Redact) { both(r); r.Within = []string{"in", "gone"} }, `{"in":{"x":"a@b.io"},"out":"a@b.io"}`, `{"in":{"x":"***"},"out":"a@b.io"}`)
	f(func(r *Redact) { both(r); r.Within = []string{"in"} }, `a@b.io`, `a@b.io`)
	f(func(r *Redact) { both(r); r.Within = []string{"message"} }, `a@b.io`, `***`)
	f(func(r *Redact) { both(r); r.Action = "remove" }, `{"a":"x a@b.io y"}`, `{"a":"x  y"}`)
	f(func(r *Redact) { r.Regex = regexes(t, "id", `^id-\d+`, "word", `\bkey\b`) }, `id-1id-2 key monkey`, `***id-2 *** monkey`)
	f(func(r *Redact) { r.Regex = regexes(t, "a", `abc`, "b", `bcd`, "c", `xyz`) }, `abcd.xyz`, `***.***`)
}

// Whatever stands around it, what was put into an event is not in what comes out.
func TestRedactLeavesNothing(t *testing.T) {
	secrets := []string{"anna@example.org", "192.0.2.17", "4111 1111 1111 1111", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"}
	r := rand.New(rand.NewPCG(3, 4))
	around := []string{"", " ", ":", "\"", "\\", "\n", "(", "x ", "é ", ", ", "key="}
	for range 400 {
		secret := secrets[r.IntN(len(secrets))]
		text := strings.Repeat(around[r.IntN(len(around))]+secret+around[r.IntN(len(around))]+" ", 1+r.IntN(3))
		in, err := json.Marshal(map[string]any{"a": []any{map[string]any{"b": text}}, "c": 1})
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, newRedact(looking("email", "ipv4", "credit_card", "jwt")), string(in)).Emitted[""][0]
		if strings.Contains(got, secret) || !strings.Contains(got, "***") {
			t.Fatalf("%s became %s", in, got)
		}
	}
}

func TestRedactValidate(t *testing.T) {
	if err := newRedact(func(*Redact) {}).Validate(); err == nil || !strings.Contains(err.Error(), "at least one of fields") {
		t.Error(err)
	}
	refuses(t, newRedact(looking("email", "phone")), "patterns[1]", "one of email")
	refuses(t, newRedact(func(r *Redact) { r.Fields = []string{"a["} }), "fields[0]", "")
	refuses(t, newRedact(func(r *Redact) { r.Fields, r.Within = []string{"a"}, []string{"b"} }), "within", "there are none")
	refuses(t, newRedact(func(r *Redact) { r.Regex = regexes(t, "x", "a*") }), "regex.x", "matches the empty text")
	refuses(t, newRedact(func(r *Redact) { r.Fields, r.Action = []string{"a"}, "hash" }), "salt", "at least 16 bytes")
	refuses(t, newRedact(func(r *Redact) { r.Fields, r.Salt = []string{"a"}, "x" }), "salt", "no meaning for the action mask")
	refuses(t, newRedact(func(r *Redact) { r.Fields, r.Action = []string{"a"}, "hide" }), "action", "one of mask")
}

func TestRedactConforms(t *testing.T) {
	samples := []string{`{"a":"a@b.io","n":4111111111111111}`, "from 10.0.0.1", `{}`, `{"a":{"b":["x"]}}`}
	pipetest.Stage(t, func() pipe.Stage {
		return newRedact(func(r *Redact) { looking("email", "ipv4", "credit_card", "jwt")(r); r.Fields = []string{"a.b"} })
	}, samples...)
	pipetest.Stage(t, func() pipe.Stage {
		return newRedact(func(r *Redact) {
			r.Fields, r.Within, r.Regex = []string{"message"}, []string{"a"}, regexes(t, "x", ".")
			r.Action, r.Salt = "hash", "0123456789abcdef"
		})
	}, samples...)
}

// Whatever the text, the spans are inside it, in order, and nothing is left to
// be found in the same place.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"a@b.io", "1.2.3.4", "4111 1111-1111 1111", "eyJhbGciOiJub25lIn0.eyJ9.", "@.@.com", "\xff@\xff.ab", "5-5-5-5"} {
		f.Add([]byte(s))
	}
	r := newRedact(looking("email", "ipv4", "credit_card", "jwt"))
	r.Action = redactRemove
	if err := r.Open(f.Context(), openEnv); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, p := range builtin {
			end := 0
			for _, s := range p.find(text, nil) {
				if s.from < end || s.to <= s.from || s.to > len(text) {
					t.Fatalf("%s: span %v in %q", name, s, text)
				}
				end = s.to
			}
		}
		quoted, err := json.Marshal(map[string]string{"k": string(text)})
		if err != nil {
			t.Fatal(err)
		}
		w := r.newWork(nil)
		if clean, _ := w.json(quoted); !json.Valid(clean) {
			t.Fatalf("%s became %s", quoted, clean)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	b.Run("fields", func(b *testing.B) {
		benchmark(b, newRedact(func(r *Redact) { r.Fields = []string{"user.name"} }), objects())
	})
	b.Run("ipv4", func(b *testing.B) { benchmark(b, newRedact(looking("ipv4")), objects()) })
	b.Run("nothing_found", func(b *testing.B) { benchmark(b, newRedact(looking("email", "credit_card", "jwt")), objects()) })
	b.Run("regex", func(b *testing.B) {
		benchmark(b, newRedact(func(r *Redact) { r.Regex = regexes(b, "email", `[\w.]+@[\w.]+\.\w+`) }), objects())
	})
	b.Run("lines", func(b *testing.B) {
		benchmark(b, newRedact(looking("email", "ipv4", "credit_card", "jwt")), accessLines())
	})
	b.Run("hash", func(b *testing.B) {
		benchmark(b, newRedact(func(r *Redact) { r.Fields, r.Action, r.Salt = []string{"client_ip"}, "hash", fmt.Sprintf("%016d", 1) }), objects())
	})
}
