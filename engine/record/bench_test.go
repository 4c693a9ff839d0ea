package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// sampleEvents returns access log events of 264 bytes on average: 12 members, one
// of them an object, of varying lengths so that nothing can be guessed by heart.
func sampleEvents(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"ts":"2026-11-21T07:%02d:%02d.%03dZ","level":%q,"host":"web-%d","method":%q,"url":"/api/v1/%s/%d",`+
			`"status":%s,"bytes":%d,"duration_ms":%.2f,"http":{"proto":"1.1","tls":%v},"ip":"10.%d.%d.%d","agent":%q,"ok":%v}`,
			r.IntN(60), r.IntN(60), r.IntN(1000), pick("info", "warn", "error"), r.IntN(200), pick("GET", "POST", "DELETE"),
			pick("items", "users", "orders/search"), r.IntN(1000000), pick("200", "404", "500"), r.IntN(200000), r.Float64()*500,
			r.IntN(2) == 0, r.IntN(256), r.IntN(256), r.IntN(256),
			pick("Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0", "curl/8.5.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"), r.IntN(5) > 0)
	}
	return out
}

// benchDocuments reads the documents in turn.
func benchDocuments(b *testing.B, docs [][]byte) {
	total := 0
	for _, d := range docs {
		total += len(d)
	}
	b.SetBytes(int64(total / len(docs)))
	b.ReportAllocs()
	var a Arena
	i := 0
	for b.Loop() {
		if _, err := FromJSON(docs[i], &a); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(docs) {
			i = 0
		}
	}
}

func BenchmarkFromJSON(b *testing.B) {
	events := sampleEvents(4096)
	b.Run("varied", func(b *testing.B) { benchDocuments(b, events) })
	b.Run("same", func(b *testing.B) { benchDocuments(b, events[:1]) })
	rewritten := func(old, new string) (out [][]byte) {
		for _, e := range events {
			out = append(out, bytes.ReplaceAll(e, []byte(old), []byte(new)))
		}
		return out
	}
	b.Run("spaces", func(b *testing.B) { benchDocuments(b, rewritten(`,"`, `, "`)) })
	b.Run("escapes", func(b *testing.B) { benchDocuments(b, rewritten(`/`, `\/`)) })
	b.Run("unicode", func(b *testing.B) { benchDocuments(b, rewritten(`Mozilla`, `Möxîllå €`)) })
	mixed := bytes.Split(bytes.Join(events, []byte("\n")), []byte("\n"))
	for i := range mixed {
		if i%3 == 0 { // another kind of event in between
			mixed[i] = bytes.Replace(mixed[i], []byte(`"level"`), []byte(`"severity":4,"trace":"abcdef","logger"`), 1)
		}
	}
	b.Run("mixed", func(b *testing.B) { benchDocuments(b, mixed) })
	b.Run("json.Valid", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if !json.Valid(events[i&4095]) {
				b.Fatal("not valid")
			}
			i++
		}
	})
}

func mustPath(s string) *Path {
	p, err := ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

// BenchmarkGet reads fields of bodies that are in the cache, as they are in a
// filter: its events have just been parsed.
func BenchmarkGet(b *testing.B) {
	var a Arena
	var bodies [32]Body
	for i, event := range sampleEvents(len(bodies)) {
		bodies[i], _ = FromJSON(event, &a)
	}
	run := func(name, path string, f func(v Value) bool) {
		p := mustPath(path)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n, i := 0, 0
			for b.Loop() {
				if f(bodies[i%len(bodies)].Get(p)) {
					n++
				}
				i++
			}
			if n == 0 {
				b.Fatal("never true")
			}
		})
	}
	exists := func(v Value) bool { return v.Exists() }
	run("first", "ts", exists)
	run("middle", "status", exists)
	run("last", "ok", exists)
	run("nested", "http.tls", exists)
	run("none", "nothing", func(v Value) bool { return !v.Exists() })
	run("Int", "status", func(v Value) bool { n, ok := v.Int(); return ok && n >= 500 })
	run("Float", "duration_ms", func(v Value) bool { x, ok := v.Float(); return ok && x > 100 })
	run("EqualString", "method", func(v Value) bool { return v.EqualString("POST") })
}

// BenchmarkEdit is a map stage: parse, two set, one rename, one delete, written out.
func BenchmarkEdit(b *testing.B) {
	var a Arena
	events := sampleEvents(1024)
	bodies := make([]Body, len(events))
	for i := range bodies {
		bodies[i], _ = FromJSON(events[i], &a)
	}
	service, kb, from, to, gone, tls := mustPath("service"), mustPath("bytes"), mustPath("agent"), mustPath("user_agent"), mustPath("level"), mustPath("http.tls")
	var out []byte
	run := func(name string, f func(body *Body)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				body := bodies[i&1023]
				f(&body)
				i++
			}
		})
	}
	run("AppendJSON", func(body *Body) { out = body.AppendJSON(out[:0]) })
	run("Set", func(body *Body) { body.Set(&a, service, Str("web")) })
	run("SetNested", func(body *Body) { body.Set(&a, tls, Bool(true)) })
	run("Delete", func(body *Body) { body.Delete(&a, gone) })
	run("all", func(body *Body) {
		body.Set(&a, service, Str("web"))
		n, _ := body.Get(kb).Float()
		body.Set(&a, kb, Float(n/1024, &a))
		body.Rename(&a, from, to)
		body.Delete(&a, gone)
		out = body.AppendJSON(out[:0])
	})
	run("Detach", func(body *Body) { *body = body.Detach() })
}

func BenchmarkBuild(b *testing.B) {
	keys := []string{"client_ip", "ident", "user", "time", "method", "path", "protocol", "status", "bytes", "referer", "agent"}
	var a Arena
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		body := NewObject(&a, len(keys))
		for _, k := range keys {
			body.Add(&a, k, Str("a value"))
		}
		out = body.AppendJSON(out[:0])
	}
}

func BenchmarkAppendQuoted(b *testing.B) {
	line := []byte(`127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] GET /apache_pb.gif HTTP/1.0 200 2326`)
	quoted := bytes.ReplaceAll(line, []byte(" "), []byte(`"`))
	var out []byte
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			out = AppendQuoted(out[:0], line)
		}
	})
	b.Run("quotes", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			out = AppendQuoted(out[:0], quoted)
		}
	})
}
