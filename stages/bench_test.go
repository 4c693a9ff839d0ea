package stages

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
	"github.com/pipectl/pipectl/engine/record"
)

const benchEvents = 256 // in one batch

// accessLines are lines like those of a busy web server, all different.
func accessLines() []string {
	lines := make([]string, benchEvents)
	for i := range lines {
		lines[i] = fmt.Sprintf(`198.51.100.%d - - [17/May/2015:10:%02d:%02d +0000] "GET /articles/2015/%d/a-title-of-some-length.html HTTP/1.1" %d %d `+
			`"http://www.example.com/articles/index.html?page=%d" "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36"`,
			i, i%60, i*7%60, i, 200+i%5*100, i*7919, i)
	}
	return lines
}

func objects() []string {
	lines := make([]string, benchEvents)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"time":"2015-05-17T10:05:%02dZ","client_ip":"198.51.100.%d","method":"GET","path":"/articles/%d.html","status":%d,"bytes":%d,`+
			`"agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36","ident":"-","user":{"id":%d,"name":"somebody"}}`,
			i%60, i, i, 200+i%5*100, i*7919, i)
	}
	return lines
}

// benchmark runs one batch of the samples through the stage again and again.
func benchmark(b *testing.B, s pipe.Stage, samples []string) {
	b.Helper()
	f, err := pipetest.NewFeed(samples...)
	if err != nil {
		b.Fatal(err)
	}
	if o, ok := s.(pipe.Opener); ok {
		if err := o.Open(b.Context(), openEnv); err != nil {
			b.Fatal(err)
		}
	}
	size := 0
	fresh := make([]pipe.Event, len(samples))
	for i, e := range f.Events {
		fresh[i] = *e
		size += len(samples[i])
	}
	ports := 1
	if r, ok := s.(pipe.Router); ok {
		ports = len(r.Ports())
	}
	out := pipe.NewOut(ports)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for i, e := range f.Events {
			*e = fresh[i]
		}
		if err := s.Process(b.Context(), f.Events, out); err != nil {
			b.Fatal(err)
		}
		if len(out.Failed()) > 0 {
			b.Fatal(out.Failed()[0].Err)
		}
		out.Reset()
	}
	perEvent(b)
	runtime.KeepAlive(queued)
}

// queued stands for the events in the queues of a pipeline at work. With a heap
// of nothing at all the benchmarks would mostly measure the garbage collector.
var queued = make([]byte, 32<<20)

func perEvent(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
}

func BenchmarkFilter(b *testing.B) {
	benchmark(b, &Filter{Where: condition(b, "status >= 500 || bytes > 1_000_000")}, objects())
}

func BenchmarkRoute(b *testing.B) {
	benchmark(b, &Route{Cases: cases(b, "failed_requests", "status >= 500", "big", "bytes > 1_000_000"), Mode: "first"}, objects())
}

func BenchmarkMap(b *testing.B) {
	b.Run("set", func(b *testing.B) {
		benchmark(b, &Map{Set: sets(b, "service", `"web"`, "mb", "bytes / 1048576.0")}, objects())
	})
	b.Run("copy", func(b *testing.B) { benchmark(b, &Map{Set: sets(b, "ip", "client_ip")}, objects()) })
	b.Run("rename", func(b *testing.B) { benchmark(b, &Map{Rename: renames("agent", "user_agent")}, objects()) })
	b.Run("delete", func(b *testing.B) { benchmark(b, &Map{Delete: []string{"ident"}}, objects()) })
	b.Run("keep", func(b *testing.B) { benchmark(b, &Map{Keep: []string{"status", "path"}}, objects()) })
	b.Run("design", func(b *testing.B) {
		benchmark(b, &Map{
			Set:    sets(b, "service", `"web"`, "mb", "bytes / 1048576.0"),
			Rename: renames("agent", "user_agent"), Delete: []string{"ident"},
		}, objects())
	})
}

func BenchmarkParse(b *testing.B) {
	lines := accessLines()
	b.Run("apache_combined", func(b *testing.B) { benchmark(b, newParse("apache_combined"), lines) })
	b.Run("apache_by_hand", func(b *testing.B) { benchmarkByHand(b, lines, false) })
	b.Run("apache_by_hand_one_buffer", func(b *testing.B) { benchmarkByHand(b, lines, true) })
	b.Run("json", func(b *testing.B) {
		text := objects()
		for i := range text {
			text[i] = " " + text[i] // a line, not an object
		}
		benchmark(b, newParse("json"), text)
	})
	b.Run("json_in_json", func(b *testing.B) {
		text := objects()
		for i := range text {
			text[i] = `{"n":1,"message":` + string(record.AppendQuoted(nil, []byte(text[i]))) + `}`
		}
		benchmark(b, newParse("json"), text)
	})
	var csvLines, logfmtLines []string
	for i := range benchEvents {
		csvLines = append(csvLines, fmt.Sprintf(`%d,"Some, thing",%d.%d,plain text,true`, i, i, i))
		logfmtLines = append(logfmtLines, fmt.Sprintf(`time=2015-05-17T10:05:03Z level=info msg="request done" status=%d took=%d.5 ok`, 200+i, i))
	}
	auto := types(FieldTypes{"*": "auto"})
	b.Run("csv", func(b *testing.B) {
		benchmark(b, newParse("csv", columns("id", "item", "price", "text", "ok"), auto), csvLines)
	})
	b.Run("logfmt", func(b *testing.B) { benchmark(b, newParse("logfmt", auto), logfmtLines) })
	b.Run("regex", func(b *testing.B) {
		re := pattern(b, `^time=(?P<time>\S+) level=(?P<level>\w+) msg="(?P<msg>[^"]*)" status=(?P<status>\d+)`)
		benchmark(b, newParse("regex", re, auto), logfmtLines)
	})
}

// benchmarkByHand is the yardstick: the same lines to the same JSON in a loop that
// trusts its input and has no pipeline around it. An event owns its memory, so
// the loop takes fresh memory as well, unless it writes to one buffer only.
func benchmarkByHand(b *testing.B, lines []string, oneBuffer bool) {
	b.Helper()
	size := 0
	input := make([][]byte, len(lines))
	for i := range lines {
		input[i] = []byte(lines[i])
		size += len(lines[i])
	}
	want := run(b, newParse("apache_combined"), lines...).Emitted[""]
	var chunk []byte
	got := make([][]byte, len(lines))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for i, line := range input {
			if cap(chunk)-len(chunk) < 1024 {
				chunk = make([]byte, 0, 16<<10)
			}
			got[i] = byHand(chunk[len(chunk):], line)
			if !oneBuffer {
				chunk = chunk[:len(chunk)+len(got[i])]
			}
		}
	}
	perEvent(b)
	for i, w := range want {
		if !oneBuffer && string(got[i]) != w {
			b.Fatalf("got %s, want %s", got[i], w)
		}
	}
}

func byHand(out, line []byte) []byte {
	next := func(end byte) []byte {
		n := bytes.IndexByte(line, end)
		w := line[:n]
		line = line[n+1:]
		return w
	}
	first := true
	field := func(name string, value []byte, quote bool) {
		if string(value) == "-" {
			return
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(append(out, '"'), name...), '"', ':')
		if quote {
			out = record.AppendQuoted(out, value)
		} else {
			out = append(out, value...)
		}
	}
	out = append(out, '{')
	field("client_ip", next(' '), true)
	field("ident", next(' '), true)
	field("user", next(' '), true)
	next('[')
	var buf [32]byte
	t, _ := appendRFC3339(buf[:0], next(']'))
	field("time", t, true)
	next('"')
	field("method", next(' '), true)
	field("path", next(' '), true)
	field("protocol", next('"'), true)
	next(' ')
	field("status", next(' '), false)
	field("bytes", next(' '), false)
	next('"')
	field("referer", next('"'), true)
	next('"')
	field("agent", next('"'), true)
	return append(out, '}')
}
