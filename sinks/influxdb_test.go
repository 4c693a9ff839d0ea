package sinks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/expr"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func influxTo(t testing.TB, f *far, set func(*InfluxDB)) *InfluxDB {
	return fresh(t, "influxdb", func(s *InfluxDB) {
		s.URL, s.Bucket, s.Measurement = f.URL, "b", ex(t, `"m"`)
		if set != nil {
			set(s)
		}
	})
}

// point is a line of line protocol, read as the server reads it.
type point struct {
	measurement string
	tags        map[string]string
	fields      map[string]string // texts without their quotes
	time        string
}

// until cuts text at the first of stops that has no backslash before it.
func until(text, stops string) (part, rest string, stop byte) {
	for i := range len(text) {
		if strings.IndexByte(stops, text[i]) >= 0 && (i == 0 || text[i-1] != '\\') {
			return text[:i], text[i+1:], text[i]
		}
	}
	return text, "", 0
}

func unescaped(text, special string) string {
	for _, c := range special {
		text = strings.ReplaceAll(text, `\`+string(c), string(c))
	}
	return text
}

// parsePoint reads one line; ok is false when it is none.
func parsePoint(line string) (p point, ok bool) {
	p.tags, p.fields = map[string]string{}, map[string]string{}
	part, rest, stop := until(line, ", ")
	p.measurement = unescaped(part, ", ")
	for stop == ',' {
		var key, value string
		if key, rest, stop = until(rest, "=, "); stop != '=' {
			return p, false
		}
		if value, rest, stop = until(rest, ", ="); stop == '=' || value == "" {
			return p, false
		}
		p.tags[unescaped(key, ",= ")] = unescaped(value, ",= ")
	}
	for more := stop == ' '; more; {
		var key string
		if key, rest, stop = until(rest, "=, "); stop != '=' || rest == "" {
			return p, false
		}
		value := ""
		if rest[0] == '"' {
			i, text := 1, []byte{}
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\') {
					i++
				}
				text = append(text, rest[i])
			}
			value = string(text)
			if i+1 >= len(rest) {
				return p, false
			}
			stop, rest = rest[i+1], rest[i+2:]
		} else {
			value, rest, stop = until(rest, ", ")
		}
		p.fields[unescaped(key, ",= ")] = value
		more = stop == ','
	}
	p.time = rest
	return p, stop == ' ' && p.measurement != "" && !strings.Contains(rest, " ")
}

func TestInfluxDBConformance(t *testing.T) {
	service{
		new:  func(t *testing.T, f *far) pipe.Sink { return influxTo(t, f, nil) },
		good: func(w http.ResponseWriter, _ string) { w.WriteHeader(204) },
		lines: func(body string) (lines []string) {
			for _, line := range splitLines(body) {
				p, ok := parsePoint(line)
				if !ok {
					panic(line)
				}
				lines = append(lines, p.fields["message"])
			}
			return lines
		},
	}.conformance(t)
}

func TestInfluxDBLines(t *testing.T) {
	f := func(event, want string, set func(*InfluxDB)) {
		t.Helper()
		s := influxTo(t, &far{Server: &httptest.Server{URL: "http://h"}}, func(s *InfluxDB) { s.Time = ex(t, "at ?? 1") })
		if set != nil {
			set(s)
		}
		if err := s.Open(t.Context(), pipe.Env{}); err != nil {
			t.Fatal(err)
		}
		line, err := s.append(nil, batch(t, event)[0], &record.Arena{})
		got := string(line)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got  %q\nwant %q", event, got, want)
		}
	}
	f(`{"a":1,"b":2.5,"c":true,"d":"x","e":null,"f":[1],"g":{"h":1},"at":7}`, "m a=1,b=2.5,c=true,d=\"x\" 7000000000\n", nil)
	f(`{"a":1,"b":2.5,"c":99999999999999999999}`, "m a=1i,b=2.5,c=99999999999999999999 1000000000\n", func(s *InfluxDB) { s.Integers = true })
	f(`{"s":"a b","r":"x,y=z","v":"q\"u\\o\nte"}`, `m,service=a\ b,region=x\,y\=z v="q\"u\\o\\nte" 1000000000`+"\n", func(s *InfluxDB) { s.Tags = named(t, "service", "s", "region", "r") })
	f(`{"s":"C:\\dir\\","r":"","v":1}`, `m,a\ b=C:\dir v=1 1000000000`+"\n", func(s *InfluxDB) { s.Tags = named(t, "a b", "s", "region", "r") })
	f(`{"s":"l1\nl2\r","v":1}`, `m,t=l1\nl2\r v=1 1000000000`+"\n", func(s *InfluxDB) { s.Tags = named(t, "t", "s") })
	f(`{"n":"my,m =1","v":1}`, `my\,m\ =1 v=1 1000000000`+"\n", func(s *InfluxDB) { s.Measurement = ex(t, "n") })
	f(`{"n":"#no","v":1}`, `measurement: "#no" begins with #, which would be a comment`, func(s *InfluxDB) { s.Measurement = ex(t, "n") })
	f(`{"v":1}`, `measurement: n gives nothing`, func(s *InfluxDB) { s.Measurement = ex(t, "n") })
	f(`{"at":1}`, "fields: none of them has a value, and a point needs one", nil)
	f(`{"v":{"a":1}}`, "fields.x: v gives an object, and must give a number, a boolean or a text", func(s *InfluxDB) { s.Fields = named(t, "x", "v") })
	f(`{"v":1,"w":2}`, "m x=1 1000000000\n", func(s *InfluxDB) { s.Fields = named(t, "x", "v", "y", "z") })
	f(`{"v":1,"at":"noon"}`, `time: "noon" is not a time such as 2026-03-01T12:00:00Z between 1678 and 2262`, nil)
}

func TestInfluxDBAnswers(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	s := influxTo(t, side, func(s *InfluxDB) { s.Org, s.Token = "o", "t0k" })
	open(t, s)
	f := func(code int, body string, class pipe.Class, parts ...string) {
		t.Helper()
		side.set(said(code, body))
		wantError(t, s.Write(t.Context(), batch(t, "a", "b")), class, parts...)
	}
	f(401, `{"code":"unauthorized","message":"unauthorized access"}`, pipe.Permanent, "check token")
	f(404, `{"code":"not found","message":"bucket \"b\" not found"}`, pipe.Permanent, "check org, bucket")
	f(413, `{"code":"request too large"}`, pipe.Permanent, "lower batch.events")
	f(429, `{"code":"too many requests"}`, pipe.Throttled)
	f(503, `{"code":"unavailable"}`, pipe.Throttled)
	f(500, `{"code":"internal error"}`, pipe.Retryable)
	r := side.last()
	if r.URL.Path != "/api/v2/write" || r.URL.RawQuery != "bucket=b&org=o&precision=ns" || r.Header.Get("Authorization") != "Token t0k" {
		t.Errorf("got %s with %v", r.URL, r.Header)
	}
}

func TestInfluxDBFindsThePoint(t *testing.T) {
	side := newFar(t, (*httptest.Server).Start)
	side.read = map[*http.Request]string{}
	s := influxTo(t, side, func(s *InfluxDB) { s.Time = ex(t, "at") })
	open(t, s)
	points := map[string]string{} // by time: a point replaces itself
	side.set(func(w http.ResponseWriter, r *http.Request) {
		conflict := false
		for _, line := range splitLines(side.read[r]) {
			p, _ := parsePoint(line)
			if p.fields["v"] == "text" {
				conflict = true
				continue
			}
			points[p.time] = p.fields["v"]
		}
		if conflict {
			said(422, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1"}`)(w, r)
			return
		}
		w.WriteHeader(204)
	})
	err := s.Write(t.Context(), batch(t, `{"at":1,"v":1}`, `{"at":2,"v":"text"}`, `{"at":3,"v":3}`))
	if got := failures(t, err); len(got) != 1 || got[1] != pipe.Poison || len(points) != 2 || !strings.Contains(err.Error(), "field type conflict") {
		t.Errorf("got failures %v, points %v (%v)", got, points, err)
	}
}

func TestInfluxDBValidate(t *testing.T) {
	f := func(want string, set func(*InfluxDB)) {
		t.Helper()
		s := &InfluxDB{URL: "http://h:8086", Bucket: "b"}
		set(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("url: it must end", func(s *InfluxDB) { s.URL = "http://h/?org=x" })
	f("tags.: this cannot be a name", func(s *InfluxDB) { s.Tags = named(t, "", "x") })
	f(`fields.a\: this cannot be a name`, func(s *InfluxDB) { s.Fields = named(t, `a\`, "x") })
	f("use token", func(s *InfluxDB) { s.URL = "http://u:p@h" })
}

// FuzzInfluxDBLine checks that the server reads of a line what the event said.
func FuzzInfluxDBLine(f *testing.F) {
	f.Add("m", "tag", "value", "text")
	f.Add("a,b c", "k=,", `v\, \=`, `"\`)
	f.Add(`m\`, "a b", `\\`, "\n\r\\n")
	breaks := strings.NewReplacer("\n", `\n`, "\r", `\r`)
	f.Fuzz(func(t *testing.T, measurement, key, tag, text string) {
		if !pointName(key) || key == "x" || measurement == "" || measurement[0] == '#' || text == "" {
			return
		}
		s := &InfluxDB{Measurement: ex(t, `meta("m")`), Tags: pipe.OrderedMap[expr.Value]{{Key: key, Value: ex(t, `meta("t")`)}},
			Fields: pipe.OrderedMap[expr.Value]{{Key: key, Value: ex(t, `meta("f")`)}}}
		in := batch(t, "x")
		for k, v := range map[string]string{"m": measurement, "t": tag, "f": text} {
			in[0].SetMeta(k, v)
		}
		line, err := s.append(nil, in[0], &record.Arena{})
		measurement = strings.TrimRight(measurement, `\`)
		if err != nil {
			if measurement != "" {
				t.Fatal(err)
			}
			return
		}
		if strings.Count(string(line), "\n") != 1 {
			t.Fatalf("%q is not one line", line)
		}
		p, ok := parsePoint(strings.TrimSuffix(string(line), "\n"))
		if !ok {
			t.Fatalf("%q cannot be read", line)
		}
		tag = breaks.Replace(strings.TrimRight(tag, `\`))
		if p.measurement != breaks.Replace(measurement) || p.tags[key] != tag || p.fields[key] != breaks.Replace(text) {
			t.Errorf("%q: got %+v, want %q, %q, %q", line, p, measurement, tag, text)
		}
	})
}
