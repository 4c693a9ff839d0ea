package stages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/record"
)

// yardstick is a format with lines and a loop that does the same by hand: it
// trusts its input and has no pipeline around it.
type yardstick struct {
	name  string
	parse *Parse
	lines []string
	hand  func(out, line []byte) []byte // appends the object; nil without one
}

// linesOf makes benchEvents lines.
func linesOf(format func(i int) string) []string {
	lines := make([]string, benchEvents)
	for i := range lines {
		lines[i] = format(i)
	}
	return lines
}

func yardsticks(b *testing.B) []yardstick {
	auto := types(FieldTypes{"*": "auto"})
	urls := linesOf(func(i int) string {
		return fmt.Sprintf("https://www.example.com:8443/articles/%d/index.html?page=%d&q=two+words", i, i)
	})
	pairs := linesOf(func(i int) string {
		return fmt.Sprintf(`time=2015-05-17T10:05:03Z level=info msg="request done" status=%d took=%d.5 path=/a/%d`, 200+i, i, i)
	})
	stamps := linesOf(func(i int) string { return fmt.Sprintf("17/May/2015:10:%02d:%02d +0000", i%60, i*7%60) })
	const re = `^time=(\S+) level=(\w+) msg="([^"]*)" status=(\d+)`
	named := pattern(b, `^time=(?P<time>\S+) level=(?P<level>\w+) msg="(?P<msg>[^"]*)" status=(?P<status>\d+)`)
	return []yardstick{
		{"apache_combined", newParse("apache_combined"), accessLines(), byHand},
		{"nginx", newParse("nginx"), accessLines(), handNginx},
		{"json", newParse("json"), linesOf(func(i int) string { return " " + objects()[i] }), handJSON},
		{"csv", newParse("csv", columns("id", "item", "price", "text", "ok"), auto), linesOf(func(i int) string {
			return fmt.Sprintf(`%d,"Some, thing",%d.%d,plain text,true`, i, i, i)
		}), handCSV},
		{"logfmt", newParse("logfmt", auto), pairs, handPairs(' ')},
		{"key_value", newParse("key_value", separators("&", "="), auto), linesOf(func(i int) string {
			return fmt.Sprintf(`time=2015-05-17T10:05:03Z&level=info&msg="request done"&status=%d&took=%d.5&path=/a/%d`, 200+i, i, i)
		}), handPairs('&')},
		{"regex", newParse("regex", named, auto), pairs, handRegex(regexp.MustCompile(re))},
		{"grok", newParse("grok", grok(`^time=%{NOTSPACE:time} level=%{LOGLEVEL:level} msg="%{DATA:msg}" status=%{INT:status:int}`)), pairs, handRegex(regexp.MustCompile(re))},
		{"url", newParse("url"), urls, handURL},
		{"user_agent (known)", newParse("user_agent"), linesOf(func(i int) string {
			return fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0", 100+i%32, 100+i%32)
		}), handAgent()},
		{"timestamp", newParse("timestamp", func(p *Parse) { p.Layouts = []string{"common_log"} }), stamps, handTime},
		{"timestamp (strftime)", newParse("timestamp", func(p *Parse) { p.Layouts = []string{"%d/%b/%Y:%H:%M:%S %z"} }), stamps, handTime},
	}
}

// BenchmarkFormats gives the table of docs/benchmarks.md: the ratio is that of
// parse to by_hand in the same run.
func BenchmarkFormats(b *testing.B) {
	for _, y := range yardsticks(b) {
		b.Run(y.name+"/parse", func(b *testing.B) { benchmark(b, y.parse, y.lines) })
		b.Run(y.name+"/by_hand", func(b *testing.B) { y.benchmark(b) })
	}
}

// benchmark runs the loop. An event owns its memory, so the loop takes fresh
// memory as well.
func (y *yardstick) benchmark(b *testing.B) {
	size := 0
	input := make([][]byte, len(y.lines))
	for i := range y.lines {
		input[i] = []byte(y.lines[i])
		size += len(y.lines[i])
	}
	want := run(b, y.parse, y.lines...).Emitted[""]
	var chunk []byte
	got := make([][]byte, len(y.lines))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for i, line := range input {
			if cap(chunk)-len(chunk) < 1024 {
				chunk = make([]byte, 0, 16<<10)
			}
			got[i] = y.hand(chunk[len(chunk):], line)
			chunk = chunk[:len(chunk)+len(got[i])]
		}
	}
	perEvent(b)
	for i, w := range want {
		if y.name != "json" && string(got[i]) != w {
			b.Fatalf("got %s, want %s", got[i], w)
		}
	}
}

// handJSON checks the line, as parse does, and leaves it where it is.
func handJSON(out, line []byte) []byte {
	if !json.Valid(line) {
		panic("not JSON")
	}
	return out
}

func handNginx(out, line []byte) []byte {
	next := func(end byte) []byte {
		n := bytes.IndexByte(line, end)
		w := line[:n]
		line = line[n+1:]
		return w
	}
	out = append(record.AppendQuoted(append(out, `{"remote_addr":`...), next(' ')), ',')
	next(' ')
	next('[')
	out = append(out, `"time_local":"`...)
	out, _ = appendRFC3339(out, next(']'))
	next('"')
	out = record.AppendQuoted(append(out, `","request_method":`...), next(' '))
	out = record.AppendQuoted(append(out, `,"request_uri":`...), next(' '))
	out = record.AppendQuoted(append(out, `,"server_protocol":`...), next('"'))
	next(' ')
	out = append(append(out, `,"status":`...), next(' ')...)
	out = append(append(out, `,"body_bytes_sent":`...), next(' ')...)
	next('"')
	out = record.AppendQuoted(append(out, `,"http_referer":`...), next('"'))
	next('"')
	out = record.AppendQuoted(append(out, `,"http_user_agent":`...), next('"'))
	return append(out, '}')
}

// handValue appends a number or true as it is, and all else as a text.
func handValue(out, value []byte) []byte {
	if n := digits(value); n > 0 && (n == len(value) || value[n] == '.' && n+1+digits(value[n+1:]) == len(value)) || string(value) == "true" {
		return append(out, value...)
	}
	return record.AppendQuoted(out, value)
}

func handCSV(out, line []byte) []byte {
	out = append(out, '{')
	for i, name := range []string{`"id":`, `,"item":`, `,"price":`, `,"text":`, `,"ok":`} {
		end := byte(',')
		if line[0] == '"' {
			end, line = '"', line[1:]
		}
		n := bytes.IndexByte(line, end)
		if n < 0 {
			n = len(line)
		}
		out = handValue(append(out, name...), line[:n])
		if n++; end == '"' {
			n++
		}
		if i < 4 {
			line = line[n:]
		}
	}
	return append(out, '}')
}

func handPairs(separator byte) func(out, line []byte) []byte {
	return func(out, line []byte) []byte {
		for first := byte('{'); len(line) > 0; first = ',' {
			n := bytes.IndexByte(line, '=')
			out = append(record.AppendQuoted(append(out, first), line[:n]), ':')
			line = line[n+1:]
			if line[0] == '"' {
				n = bytes.IndexByte(line[1:], '"') + 1
				out = record.AppendQuoted(out, line[1:n])
				n++
			} else {
				if n = bytes.IndexByte(line, separator); n < 0 {
					n = len(line)
				}
				out = handValue(out, line[:n])
			}
			line = line[min(n+1, len(line)):]
		}
		return append(out, '}')
	}
}

func handRegex(re *regexp.Regexp) func(out, line []byte) []byte {
	return func(out, line []byte) []byte {
		at := re.FindSubmatchIndex(line)
		for i, name := range []string{`{"time":`, `,"level":`, `,"msg":`, `,"status":`} {
			out = handValue(append(out, name...), line[at[2*i+2]:at[2*i+3]])
		}
		return append(out, '}')
	}
}

func handURL(out, line []byte) []byte {
	next := func(end string) []byte {
		n := bytes.Index(line, []byte(end))
		w := line[:n]
		line = line[n+len(end):]
		return w
	}
	out = record.AppendQuoted(append(out, `{"scheme":`...), next("://"))
	out = record.AppendQuoted(append(out, `,"host":`...), next(":"))
	n := digits(line)
	out = append(append(out, `,"port":`...), line[:n]...)
	line = line[n:]
	out = record.AppendQuoted(append(out, `,"path":`...), next("?"))
	out = append(out, `,"query":{`...)
	for i := 0; len(line) > 0; i++ {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(record.AppendQuoted(out, next("=")), ':')
		if n = bytes.IndexByte(line, '&'); n < 0 {
			n = len(line)
		}
		var room [64]byte
		value := append(room[:0], line[:n]...)
		for j := range value {
			if value[j] == '+' {
				value[j] = ' '
			}
		}
		out = record.AppendQuoted(out, value)
		line = line[min(n+1, len(line)):]
	}
	return append(out, '}', '}')
}

// handAgent looks the object up in a map without a bound.
func handAgent() func(out, line []byte) []byte {
	known := map[string][]byte{}
	for i := range 32 {
		text := fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0", 100+i, 100+i)
		known[text] = fmt.Appendf(nil, `{"name":"Firefox","version":"%d.0","os":"Linux","bot":false}`, 100+i)
	}
	return func(out, line []byte) []byte { return append(out, known[string(line)]...) }
}

func handTime(out, line []byte) []byte {
	t, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(line))
	if err != nil {
		panic(err)
	}
	return append(t.AppendFormat(append(out, `{"message":"`...), time.RFC3339Nano), '"', '}')
}

// BenchmarkAgentUnknown is a user agent that is not in the cache.
func BenchmarkAgentUnknown(b *testing.B) {
	p := newParse("user_agent", func(p *Parse) { p.CacheEntries = 1 })
	benchmark(b, p, linesOf(func(i int) string {
		return fmt.Sprintf("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_%d) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.1700.77 Safari/537.36", i, i)
	})[:benchEvents])
}
