package stages

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

// becomes checks that a line becomes an object; an empty want, that it fails with what.
func becomes(t *testing.T, p *Parse, line, want, what string) {
	t.Helper()
	r := run(t, p, line)
	if want != "" {
		same(t, line, r.Emitted[""], []string{want})
		if len(r.Errors) > 0 {
			t.Errorf("%q: %v", line, r.Errors[0])
		}
		return
	}
	fails(t, r, what)
}

func separators(pair, value string) func(*Parse) {
	return func(p *Parse) { p.PairSeparator, p.ValueSeparator = pair, value }
}

func TestParseKeyValue(t *testing.T) {
	f := func(pair, value, line, want, what string) {
		t.Helper()
		becomes(t, newParse("key_value", separators(pair, value), types(FieldTypes{"*": "auto"})), line, want, what)
	}
	f(" ", "=", `a=1  b="x y" c='it''s`, ``, `key_value: byte 19: the separator " " should follow the value of c`)
	f(" ", "=", `a=1  b="x \"y\"" c='it\'s "ok"' d e=`, `{"a":1,"b":"x \"y\"","c":"it's \"ok\"","d":true,"e":""}`, ``)
	f("&", "=", `a=1&b=&&c&a=2`, `{"a":2,"b":"","c":true}`, ``)
	f("; ", ": ", `a: 1; b: "x; y"; c: z;w `, `{"a":1,"b":"x; y","c":"z;w"}`, ``)
	f(",", ":", ` a : 1 , b:'x,y' ,c:2`, `{"a":1,"b":"x,y","c":2}`, ``)
	f("|", "=>", `a=>1|b=>c=>d`, `{"a":1,"b":"c=>d"}`, ``)
	f(" ", "=", "a=1\tb=2\r", `{"a":1,"b":2}`, ``)
	f(" ", "=", `=1`, ``, `key_value: byte 0: a key should be before =`)
	f(" ", "=", `a="x`, ``, `key_value: byte 4: the closing quote of a is missing`)
	f(",", "=", `a="x"y`, ``, `the separator "," should follow`)
	f(" ", "=", ``, ``, `key_value: byte 0: the line has no pairs`)
	becomes(t, newParse("key_value", types(FieldTypes{"a": "int"})), `a=x`, ``, `key_value: byte 2: field a should be a whole number, got "x"`)
}

func logFormat(text string) func(*Parse) { return func(p *Parse) { p.LogFormat = text } }

func TestParseNginx(t *testing.T) {
	f := func(format, line, want, what string) {
		t.Helper()
		becomes(t, newParse("nginx", logFormat(format)), line, want, what)
	}
	f("", `192.0.2.1 - bob x [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 12 "-" "curl \x22x\x22"`,
		`{"remote_addr":"192.0.2.1","remote_user":"bob x","time_local":"2015-05-17T10:05:03Z","request_method":"GET","request_uri":"/a?b","server_protocol":"HTTP/1.1","status":200,"body_bytes_sent":12,"http_user_agent":"curl \"x\""}`, ``)
	f("", `192.0.2.1 - - [17/May/2015:10:05:03 +0000] "\x16\x03" 400 0 "" "-"`,
		`{"remote_addr":"192.0.2.1","time_local":"2015-05-17T10:05:03Z","request":"\u0016\u0003","status":400,"body_bytes_sent":0}`, ``)
	f("", `192.0.2.1 - - [17/Foo/2015:10:05:03 +0000] "" 400 0 "" "-"`, ``, `nginx: byte 15: time_local is no time`)
	f("", `192.0.2.1 - - no`, ``, `nginx: byte 12: " [" should follow remote_user`)
	f("$status ${request_time}s $upstream_response_time", "009 0.120s 0.1, 0.2", `{"status":9,"request_time":0.120,"upstream_response_time":"0.1, 0.2"}`, ``)
	f("$status|$a|$a", "200|x|y", `{"status":200,"a":"y"}`, ``)
	f("$status|", "200|  ", `{"status":200}`, ``)
	f("$status|", "200|more", ``, `the line goes on where it should end`)
	f("x $status", "y 200", ``, `nginx: byte 0: the line does not begin with "x "`)
	f("$status", "abc", ``, `nginx: byte 0: field status should be a whole number, got "abc"`)
	f("log_format main escape=json '$a \"$b\"'\n   ' $status';", `x "say \"hi\" \u00fc" 200`, `{"a":"x","b":"say \"hi\" ü","status":200}`, ``)
	f("log_format main escape=none '[$a]';", `[x\x22]`, `{"a":"x\\x22"}`, ``)
	f(`"$request" $request_method`, `"GET /a HTTP/1.1" POST`, `{"request_uri":"/a","server_protocol":"HTTP/1.1","request_method":"POST"}`, ``)
	refuses(t, newParse("nginx", logFormat("$a$b")), "log_format", "nothing stands between $a and the next variable")
	refuses(t, newParse("nginx", logFormat("abc")), "log_format", "has no variables")
	refuses(t, newParse("nginx", logFormat("log_format x escape=yes '$a';")), "log_format", "unknown escape=yes")
	refuses(t, newParse("nginx", logFormat("log_format x '$a;")), "log_format", "a quote is not closed")
	refuses(t, newParse("nginx", types(FieldTypes{"foo": "int"})), "types.foo", "no variable $foo")
}

// The built-in format of nginx and apache_combined agree about every line.
func TestParseNginxAgreesWithCombined(t *testing.T) {
	text, err := os.ReadFile("testdata/access.log")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{
		"client_ip": "remote_addr", "user": "remote_user", "time": "time_local", "method": "request_method", "path": "request_uri", "protocol": "server_protocol",
		"status": "status", "bytes": "body_bytes_sent", "referer": "http_referer", "agent": "http_user_agent", "request": "request",
	}
	object := func(r pipetest.StageResult) (m map[string]any) {
		t.Helper()
		if len(r.Emitted[""]) != 1 {
			t.Fatalf("%v", r)
		}
		if err := json.Unmarshal([]byte(r.Emitted[""][0]), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if _, rest, _ := strings.Cut(line, " "); !strings.HasPrefix(rest, "- ") || strings.Contains(line, `\"`) || strings.Contains(line, `""`) {
			continue // nginx writes no ident and no \", and an empty text as -
		}
		apache, nginx := run(t, newParse("apache_combined"), line), run(t, newParse("nginx"), line)
		if len(apache.Failed) > 0 {
			continue
		}
		n++
		want := map[string]any{}
		for name, v := range object(apache) {
			want[names[name]] = v
		}
		if got := object(nginx); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", line, got, want)
		}
	}
	if n < 3 {
		t.Errorf("only %d lines were compared", n)
	}
}

func TestParseURL(t *testing.T) {
	f := func(text, want, what string) {
		t.Helper()
		becomes(t, newParse("url"), text, want, what)
	}
	f("https://bob:secret@example.org:8443/a/b%20c?x=1&y=a+b%21&x=2&z#top", `{"scheme":"https","user":"bob","host":"example.org","port":8443,"path":"/a/b%20c","query":{"x":["1","2"],"y":"a b!","z":""},"fragment":"top"}`, ``)
	f("/a?b=c", `{"path":"/a","query":{"b":"c"}}`, ``)
	f("http://[2001:db8::1]:80", `{"scheme":"http","host":"2001:db8::1","port":80}`, ``)
	f("///a", `{"path":"///a"}`, ``)
	f("file:///a", `{"scheme":"file","path":"/a"}`, ``)
	f("//example.org", `{"host":"example.org"}`, ``)
	f("example.org:8080/x", `{"path":"example.org:8080/x"}`, ``)
	f("mailto:a@example.org", `{"scheme":"mailto","path":"a@example.org"}`, ``)
	f("/%zz?%zz=%ff", `{"path":"/%zz","query":{"%zz":"%ff"}}`, ``)
	f("/?#", `{"path":"/"}`, ``)
	f("http://a:007/", `{"scheme":"http","host":"a","port":7,"path":"/"}`, ``)
	f("http://a:/", `{"scheme":"http","host":"a","path":"/"}`, ``)
	f("http://a:65536/", ``, `url: byte 7: the port should be 0 to 65535, got "65536"`)
	f("http://a:x/", ``, `the port should be`)
	f("http://[::1/", ``, `url: byte 7: the ] of the host is missing`)
	f("http://[::1]x/", ``, `the port should follow`)
	f("a b", ``, `url: byte 1: the URL has a space`)
	f("", ``, `url: byte 0: a URL should be here`)
}

// A query of very many names takes no longer than its length.
func TestParseURLLongQuery(t *testing.T) {
	var query strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&query, "&k%d=%d&same=%d", i, i, i)
	}
	r := run(t, newParse("url"), "/?"+query.String()[1:])
	if got := r.Emitted[""][0]; !strings.Contains(got, `"k19999":"19999"`) || !strings.Contains(got, `"same":["0","1",`) || !strings.Contains(got, `,"19999"]`) {
		t.Errorf("got %.100s", got)
	}
}

// Where both accept a URL we cut it as the standard library does.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://u:p@h:1/p?q=1#f", "/a?b", "http://[::1]/", "x:y", "a:80", "?a=1&a=2", "//h", "h%41://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := cursor{line: []byte(strings.TrimSpace(text))}
		var p [urlParts][]byte
		c.cutURL(&p)
		std, err := url.Parse(string(c.line))
		if c.want != "" || err != nil || std.Opaque != "" || strings.Contains(text, "%") {
			return
		}
		if p[urlScheme] == nil && std.Scheme != "" {
			return // host:port
		}
		for _, pair := range [][2]string{
			{string(p[urlScheme]), std.Scheme}, {string(p[urlHost]), std.Hostname()}, {string(p[urlPath]), std.Path},
			{string(p[urlQuery]), std.RawQuery}, {string(p[urlFragment]), std.Fragment}, {string(p[urlUser]), std.User.Username()},
			{string(p[urlPort]), strings.TrimLeft(std.Port(), "0")},
		} {
			if !strings.EqualFold(pair[0], pair[1]) && strings.Trim(pair[0], "0") != "" {
				t.Errorf("%q: got %q, want %q", text, pair[0], pair[1])
			}
		}
	})
}

func TestParseTarget(t *testing.T) {
	into := func(target string, keep bool) func(*Parse) {
		return func(p *Parse) { p.Target, p.KeepSource = target, keep }
	}
	field := func(name string) func(*Parse) { return func(p *Parse) { p.Field = name } }
	becomes(t, newParse("url", field("u"), into("page.url", true)), `{"u":"/a?b=c","n":1}`, `{"u":"/a?b=c","n":1,"page":{"url":{"path":"/a","query":{"b":"c"}}}}`, ``)
	becomes(t, newParse("url", field("u"), into("u", false)), `{"u":"/a","n":1}`, `{"u":{"path":"/a"},"n":1}`, ``)
	becomes(t, newParse("logfmt", into("kv", false)), `a=1 b`, `{"kv":{"a":"1","b":true}}`, ``)
	becomes(t, newParse("json", into("j", false)), ` {"a": 1}`, `{"j":{"a": 1}}`, ``)
	becomes(t, newParse("json", field("s"), into("j", false)), `{"s":"{\"a\":[]}"}`, `{"j":{"a":[]}}`, ``)
	becomes(t, newParse("csv", columns("a", "b"), into("j", true)), `1,2`, `{"message":"1,2","j":{"a":"1","b":"2"}}`, ``)
	becomes(t, newParse("url", field("u"), into("n.x", false)), `{"u":"/a","n":1}`, ``, `url: target: n.x: n is a number, not an object`)
	refuses(t, newParse("json", into("a[", false)), "target", "")
}

func TestParseUserAgent(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		becomes(t, newParse("user_agent"), text, want, "")
	}
	f("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.71 Safari/537.36",
		`{"name":"Chrome","version":"120.0.6099","os":"Windows","os_version":"10","bot":false}`)
	f("Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
		`{"name":"Mobile Safari","version":"17.1","os":"iOS","os_version":"17.1","device":"iPhone","brand":"Apple","model":"iPhone","bot":false}`)
	f("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", `{"name":"Googlebot","version":"2.1","bot":true}`)
	f("what is this", `{"bot":false}`)
	f("curl/8.6.0 "+strings.Repeat("x", 3000), `{"name":"curl","version":"8.6.0","bot":false}`)
	refuses(t, newParse("user_agent", func(p *Parse) { p.CacheEntries = 0 }), "cache_entries", "1 to 1000000")
}

// However many user agents there are, no more are remembered than allowed, and
// what is forgotten is found out again.
func TestParseUserAgentForgets(t *testing.T) {
	p := newParse("user_agent", func(p *Parse) { p.CacheEntries = 3 })
	for range 2 {
		for i := range 5 {
			becomes(t, p, fmt.Sprintf("curl/%d.1", i), fmt.Sprintf(`{"name":"curl","version":"%d.1","bot":false}`, i), "")
		}
	}
}

func grok(patterns ...string) func(*Parse) { return func(p *Parse) { p.Patterns = patterns } }

func TestParseGrok(t *testing.T) {
	f := func(p *Parse, line, want, what string) {
		t.Helper()
		becomes(t, p, line, want, what)
	}
	two := newParse("grok", grok(`^%{IP:client.ip} %{WORD:method} %{NUMBER:bytes:int}$`, `^%{WORD:level}: %{GREEDYDATA:text}$`))
	f(two, "192.0.2.1 GET 12", `{"client":{"ip":"192.0.2.1"},"method":"GET","bytes":12}`, ``)
	f(two, "error: it is: bad", `{"level":"error","text":"it is: bad"}`, ``)
	f(two, "?", ``, `grok: none of the 2 patterns matches`)
	f(newParse("grok", grok(`%{NUMBER:a:float}|%{WORD:a}`)), "x", `{"a":"x"}`, ``)
	f(newParse("grok", grok(`%{NUMBER:a:float}`)), "x", ``, `grok: the pattern does not match`)
	f(newParse("grok", grok(`^%{DATA:n:int} `)), "x y", ``, `grok: byte 0: field n should be a whole number, got "x"`)
	f(newParse("grok", grok(`^%{WORD:a.b} %{WORD:a.c.d} (?P<e>\w+)( %{WORD:f})?$`)), "1 2 3", `{"a":{"b":"1","c":{"d":"2"}},"e":"3"}`, ``)
	f(newParse("grok", grok(`^(%{WORD:a.b})?:$`)), ":", `{}`, ``)
	own := newParse("grok", grok(`^%{REQUEST:request} %{WORD:word}`), func(p *Parse) { p.Definitions = map[string]string{"REQUEST": `r-%{INT}`, "WORD": `[a-c]+`} })
	f(own, "r-12 abcd", `{"request":"r-12","word":"abc"}`, ``)
	f(newParse("grok", grok(`^%{COMBINEDAPACHELOG}$`)), combinedLine,
		`{"source":{"address":"192.0.2.10"},"timestamp":"03/Mar/2024:08:15:02 +0000","http":{"request":{"method":"GET"},"version":"1.1","response":{"status_code":200,"body":{"size":5120}}},"url":{"original":"/a"},"user_agent":{"original":"curl/8.6.0"}}`, ``)
}

func TestParseGrokValidate(t *testing.T) {
	f := func(want string, p ...string) {
		t.Helper()
		refuses(t, newParse("grok", grok(p...)), "patterns[0]", want)
	}
	refuses(t, newParse("grok"), "patterns", "is required")
	f("there is no pattern NOPE", `%{NOPE:a}`)
	f(`unknown type "number" of the field a`, `%{WORD:a:number}`)
	f("has no %{NAME:field}", `%{WORD}`)
	f("is not like %{NAME}", `%{WORD:a:int:b}`)
	f("missing closing )", `(%{WORD:a}`)
	f("the field a is an object and has a value, too", `%{WORD:a.b} %{WORD:a}`)
	f("the field a is an object and has a value, too", `%{WORD:a} %{WORD:a.b}`)
	f("has an empty part", `%{WORD:a..b}`)
	defined := func(m map[string]string) func(*Parse) { return func(p *Parse) { p.Definitions = m } }
	refuses(t, newParse("grok", grok(`%{WORD:a}`), defined(map[string]string{"A": `%{B}`, "B": `x%{A}`})), "definitions.A", "uses itself")
	refuses(t, newParse("grok", grok(`%{WORD:a}`), defined(map[string]string{"A B": `x`})), "definitions.A B", "letters, digits")
	deep := map[string]string{"D0": strings.Repeat("x", 10)}
	for i := 1; i <= 9; i++ { // 10 times as long each time
		deep[fmt.Sprintf("D%d", i)] = strings.Repeat(fmt.Sprintf("%%{D%d}", i-1), 10)
	}
	refuses(t, newParse("grok", grok(`%{WORD:a}`), defined(deep)), "definitions.D4", "longer than")
	refuses(t, newParse("grok", grok(`%{WORD:a}`), types(FieldTypes{"b": "int"})), "types.b", "no pattern has such a field")
}

// Every pattern of the library is a regular expression.
func TestGrokLibrary(t *testing.T) {
	library := grokLibrary(nil)
	if len(library) < 150 {
		t.Fatalf("only %d patterns", len(library))
	}
	for name := range library {
		if _, _, err := parseGrok("%{"+name+"}", library); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewFormatsConform(t *testing.T) {
	f := func(p func() *Parse, samples ...string) {
		t.Helper()
		pipetest.Stage(t, func() pipe.Stage { return p() }, samples...)
	}
	f(func() *Parse { return newParse("key_value") }, `a=1 b="x \"y\""`, `{"message":"a=1","n":1}`, `=`)
	f(func() *Parse { return newParse("nginx") }, combinedLine, strings.Replace(combinedLine, "curl", `\x22`, 1), "no")
	f(func() *Parse { return newParse("url") }, `http://a/b%20?c=%20&d`, `{"message":"/a?b=\"","n":1}`, `a b`)
	f(func() *Parse { return newParse("url", func(p *Parse) { p.Target = "u" }) }, `http://a/b%20?c=%20&d`, `{"message":"/a?b=\"","n":1}`)
	f(func() *Parse { return newParse("user_agent") }, `curl/8.6.0`, `{"message":"curl/1","n":1}`)
	f(func() *Parse { return newParse("grok", grok(`^%{WORD:a.b} %{INT:n:int}`)) }, `x 1`, `{"message":"y 2","m":1}`, `x`)
	f(func() *Parse {
		return newParse("timestamp", func(p *Parse) { p.Layouts = []string{"rfc3339", "unix"} })
	}, `2024-01-02T03:04:05Z`, `{"message":1700000000.5}`, `x`)
}
