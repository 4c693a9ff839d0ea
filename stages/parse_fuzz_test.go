package stages

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pipectl/pipectl/engine/record"
)

// logged writes b as a web server does between quotes.
func logged(b string) string {
	var out strings.Builder
	for _, c := range []byte(b) {
		switch {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&out, `\x%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// A line built from parts is cut into these parts again.
func FuzzAccessRoundTrip(f *testing.F) {
	f.Add("192.0.2.1", "bob", "/a", "HTTP/1.1", uint16(200), uint64(12), "-", `say "hi" \`)
	f.Add("::1", "a b", "/ü HTTP/ x", "HTTP/", uint16(0), uint64(0), "", "\x00\n")
	f.Fuzz(func(t *testing.T, ip, user, path, protocol string, status uint16, size uint64, referer, agent string) {
		protocol = "HTTP/" + strings.ReplaceAll(protocol, " ", "")
		for _, word := range []string{ip, user} {
			if word == "" || strings.ContainsAny(word, " [") {
				return
			}
		}
		for _, s := range []string{ip, user, path, protocol, referer, agent} {
			if !utf8.ValidString(s) {
				return
			}
		}
		line := fmt.Sprintf(`%s - %s [17/May/2015:10:05:03 +0000] "GET %s %s" %d %d "%s" "%s"`,
			ip, user, logged(path), logged(protocol), status, size, logged(referer), logged(agent))
		var got accessLine
		c := cursor{line: []byte(line)}
		c.cutAccess(&got, true)
		if c.want != "" {
			t.Fatalf("%q: %v", line, c.mistake("apache_combined"))
		}
		want := accessLine{
			[]byte(ip), []byte("-"), []byte(user), []byte("17/May/2015:10:05:03 +0000"), []byte("GET"), []byte(path),
			[]byte(protocol), fmt.Append(nil, status), fmt.Append(nil, size), []byte(referer), []byte(agent), []byte("-"),
		}
		for i := range want {
			want[i] = dashless(want[i])
			if i == partPath && path != "" {
				want[i] = []byte(path) // "-" as well
			}
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%q: %s is %q, want %q", line, accessNames[i], got[i], want[i])
			}
		}
	})
}

// members lists the members of b, each found by its name.
func members(b *record.Body) (all []string) {
	b.Range(func(key []byte, v record.Value) bool {
		all = append(all, string(key)+"="+string(v.Raw())+"="+string(b.Field(string(key)).Raw()))
		return true
	})
	return all
}

// No line makes a parser panic; each gives fields or says what is wrong where.
func FuzzParsers(f *testing.F) {
	f.Add([]byte(combinedLine))
	f.Add([]byte(`a=1 b="x \"y\"" c`))
	f.Add([]byte(`1,"x ""y""",`))
	f.Add([]byte(`{"a":[1,{"b":null}]}`))
	f.Add([]byte(`https://u:p@[::1]:80/a%20b?c=%41&c=+#d`))
	f.Add([]byte(`a: 'x; \'y'; b: "z"; c`))
	f.Add([]byte(`31/Apr/2015:10:05:03 +0000`))
	f.Add([]byte(`10.0.0.1 x 1 y`))
	parsers := []*Parse{
		newParse("apache_combined"), newParse("apache_common"), newParse("json"), newParse("logfmt", types(FieldTypes{"*": "auto"})),
		newParse("csv", columns("a", "b"), types(FieldTypes{"*": "auto"})), newParse("regex", pattern(f, `(?P<a>\w+)=(?P<b>.*)`)),
		newParse("key_value", types(FieldTypes{"*": "auto"})), newParse("key_value", separators("; ", ": ")), newParse("nginx"),
		newParse("nginx", logFormat(`log_format x escape=json '"$a" $request_time $status|$b';`)), newParse("url"),
		newParse("grok", grok(`^%{IPORHOST:a.host} %{WORD:a.b} %{NUMBER:n:float}`, `%{QUOTEDSTRING:q}`, `%{TIMESTAMP_ISO8601:t}`)),
		newParse("timestamp", func(p *Parse) { p.Layouts = []string{"iso8601", "common_log", "unix", "%b %d"} }),
	}
	for _, p := range parsers {
		if err := p.Open(f.Context(), openEnv); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		for _, p := range parsers {
			var found fields
			quick, err := p.body(record.FromText(line), &found, 1, &record.Arena{})
			if err != nil {
				if !strings.HasPrefix(err.Error(), p.Format+": ") {
					t.Errorf("%q: error %q does not begin with %s", line, err, p.Format)
				}
				continue
			}
			got := quick.AppendJSON(nil)
			if !json.Valid(got) {
				t.Errorf("%s: %q gives %q", p.Format, line, got)
			}
			read, err := record.FromJSON(got, nil)
			if was, is := members(&read), members(&quick); err != nil || !slices.Equal(was, is) {
				t.Errorf("%s: %q gives the members %q, and %q when it is read again, %v", p.Format, line, is, was, err)
			}
			slow := *p
			slow.whole = false // as if there were other fields
			same, err := slow.body(record.FromText(line), &found, 1, &record.Arena{})
			if want := same.AppendJSON(nil); err != nil || p.Format != "json" && !bytes.Equal(got, want) {
				t.Errorf("%s: %q gives %q, with other fields %q, %v", p.Format, line, got, want, err)
			}
		}
		if !bytes.Equal(line, before) {
			t.Errorf("the line was written to: %q is now %q", before, line)
		}
	})
}

// CSV that the standard library writes reads back as it was.
func FuzzCSVRoundTrip(f *testing.F) {
	f.Add("a", `say "hi"`, "x,y")
	f.Add("", " ", "\t")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if strings.ContainsAny(a+b+c, "\r\n") {
			return
		}
		var line bytes.Buffer
		w := csv.NewWriter(&line)
		if err := w.Write([]string{a, b, c}); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		cur := cursor{line: bytes.TrimSuffix(line.Bytes(), []byte("\n"))}
		for i, want := range []string{a, b, c} {
			got, more := cur.cell(',')
			if string(got) != want || more != (i < 2) || cur.want != "" {
				t.Fatalf("%q: cell %d is %q, %v, want %q (%s%s)", line.Bytes(), i, got, more, want, cur.part, cur.want)
			}
		}
	})
}

// What logfmt quotes reads back as it was.
func FuzzLogfmtRoundTrip(f *testing.F) {
	f.Add("key", `say "hi" \`, "x")
	f.Fuzz(func(t *testing.T, key, quoted, plain string) {
		bad := func(c rune) bool { return c <= ' ' || c == '=' || c == '"' }
		if key == "" || strings.ContainsFunc(key+plain, bad) || !utf8.ValidString(quoted) {
			return
		}
		cur := cursor{line: []byte(key + `="` + logged(quoted) + `" ` + key + "=" + plain)}
		var kv logfmtPair
		for _, want := range []string{quoted, plain} {
			if !cur.logfmtPair(&kv) || string(kv.key) != key || string(kv.value) != want || kv.bare {
				t.Fatalf("%q: got %q=%q, want %q (%s%s)", cur.line, kv.key, kv.value, want, cur.part, cur.want)
			}
		}
		if cur.logfmtPair(&kv) || cur.want != "" {
			t.Fatalf("%q: goes on with %q", cur.line, kv.key)
		}
	})
}

// No log_format makes the compiler or its parser panic; what is accepted reads a
// line that was written with it.
func FuzzNginxFormat(f *testing.F) {
	f.Add(nginxCombined, "a b")
	f.Add(`log_format x escape=json '$a "$b"' ' $c|';`, `x\"y`)
	f.Add(`${a}$`, ``)
	f.Fuzz(func(t *testing.T, text, value string) {
		p := newParse("nginx", logFormat(text))
		if p.Validate() != nil {
			return
		}
		if err := p.Open(t.Context(), openEnv); err != nil {
			t.Fatalf("%q is valid but: %v", text, err)
		}
		c, err := compileNginx(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		line := slices.Clone(c.before)
		for _, v := range c.vars {
			if len(v.after) > 0 && strings.Contains(value+string(v.after), string(v.after)) && strings.Index(value+string(v.after), string(v.after)) < len(value) {
				return // the value ends early
			}
			line = append(append(line, value...), v.after...)
		}
		var found fields
		body, err := p.body(record.FromText(line), &found, 1, &record.Arena{})
		if err == nil && !json.Valid(body.AppendJSON(nil)) {
			t.Errorf("%q with %q gives %s", line, text, body.AppendJSON(nil))
		}
		if want := "should follow"; err != nil && strings.Contains(err.Error(), want) && !c.json {
			t.Errorf("%q does not fit %q: %v", line, text, err)
		}
	})
}

// No grok pattern makes the compiler panic or become large; what is accepted
// makes JSON of any line.
func FuzzGrokPattern(f *testing.F) {
	f.Add(`^%{WORD:a.b} %{INT:n:int}`, "x 1")
	f.Add(`(?P<x>a)|%{DATA:x:auto}$`, "1")
	f.Add(`%{SYSLOGBASE} (%{GREEDYDATA:m})?`, "Feb 29 01:02:03 h p[1]: x")
	library := grokLibrary(map[string]string{"LOOP": `%{LOOP}`})
	f.Fuzz(func(t *testing.T, text, line string) {
		g, err := compileGrok(text, library, nil)
		if err != nil {
			return
		}
		at := g.re.FindStringSubmatchIndex(line)
		if at == nil {
			return
		}
		var found fields
		found.reset([]byte(line), 1, false)
		if g.put([]byte(line), at, &found, &record.Arena{}) == nil && !json.Valid(found.written(1)) {
			t.Errorf("%q of %q gives %s", text, line, found.written(1))
		}
	})
}

// What key_value quotes reads back as it was, with any separators.
func FuzzKeyValueRoundTrip(f *testing.F) {
	f.Add("key", `say "hi" \`, "x", "; ", ": ")
	f.Add("k", "", "y", " ", "=")
	f.Fuzz(func(t *testing.T, key, quoted, plain, pair, value string) {
		p := newParse("key_value", separators(pair, value))
		odd := func(s string) bool {
			return strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '"' || c == '\'' || c == '\\' })
		}
		if p.Validate() != nil || key == "" || odd(key) || odd(plain) || plain == "" || !utf8.ValidString(quoted) || !utf8.ValidString(key) || !utf8.ValidString(plain) ||
			!utf8.ValidString(pair) || !utf8.ValidString(value) || strings.ContainsAny(key+plain, pair+value) || strings.ContainsFunc(value+pair, func(c rune) bool { return c < ' ' }) {
			return
		}
		line := key + value + plain + pair + key + "2" + value + `"` + logged(quoted) + `"`
		if strings.ContainsAny("2", pair+value) || strings.TrimSpace(pair) != pair && strings.TrimSpace(pair) != "" && strings.HasPrefix(pair, " ") {
			return
		}
		if err := p.Open(t.Context(), openEnv); err != nil {
			t.Fatal(err)
		}
		var found fields
		body, err := p.body(record.FromText([]byte(line)), &found, 1, &record.Arena{})
		if err != nil {
			t.Fatalf("%q with %q and %q: %v", line, pair, value, err)
		}
		if got, also := body.Field(key).String(), body.Field(key+"2").String(); got != plain || also != quoted {
			t.Errorf("%q with %q and %q: got %q and %q", line, pair, value, got, also)
		}
	})
}
