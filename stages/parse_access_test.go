package stages

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/pipetest"
)

func newParse(format string, change ...func(*Parse)) *Parse {
	c, _ := pipe.Lookup(pipe.KindStage, "parse")
	p := c.New().(*Parse)
	p.Format = format
	for _, f := range change {
		f(p)
	}
	return p
}

const combinedLine = `192.0.2.10 - - [03/Mar/2024:08:15:02 +0000] "GET /a HTTP/1.1" 200 5120 "-" "curl/8.6.0"`

// The sample is committed; its odd lines are those that real logs have.
func TestParseCombinedSample(t *testing.T) {
	text, err := os.ReadFile("testdata/access.log")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	r := run(t, newParse("apache_combined"), lines...)
	same(t, "emitted", r.Emitted[""], []string{
		`{"client_ip":"192.0.2.10","time":"2024-03-03T08:15:02Z","method":"GET","path":"/index.html","protocol":"HTTP/1.1","status":200,"bytes":5120,"agent":"Mozilla/5.0 (X11; Linux x86_64; rv:123.0) Gecko/20100101 Firefox/123.0"}`,
		`{"client_ip":"192.0.2.11","user":"alice","time":"2024-03-03T08:15:03+01:00","method":"POST","path":"/login?next=%2Fhome","protocol":"HTTP/2.0","status":302,"bytes":0,"referer":"https://example.org/login","agent":"curl/8.6.0"}`,
		`{"client_ip":"2001:db8::7","time":"2024-02-29T23:59:60-05:30","method":"HEAD","path":"/","protocol":"HTTP/1.0","status":304}`,
		`{"client_ip":"host.example.net","ident":"ident-7","user":"bob","time":"2024-03-03T08:15:05Z","method":"DELETE","path":"/items/42","protocol":"HTTP/1.1","status":204,"referer":"","agent":""}`,
		`{"client_ip":"192.0.2.12","user":"John Doe","time":"2024-03-03T08:15:06Z","method":"GET","path":"/with space/file name.txt","protocol":"HTTP/1.1","status":404,"bytes":321,"agent":"agent"}`,
		`{"client_ip":"192.0.2.13","time":"2024-03-03T08:15:07Z","method":"GET","path":"/quote\"d","protocol":"HTTP/1.1","status":400,"bytes":226,"referer":"http://example.org/?q=\"x\"","agent":"say \"hello\" \\"}`,
		`{"client_ip":"192.0.2.14","time":"2024-03-03T08:15:08Z","status":408}`,
		`{"client_ip":"192.0.2.15","time":"2024-03-03T08:15:09Z","status":400,"bytes":226,"request":"\u0016\u0003\u0001\u0002"}`,
		`{"client_ip":"192.0.2.16","time":"2024-03-03T08:15:10Z","method":"GET","path":"/old","status":200,"bytes":17}`,
		`{"client_ip":"192.0.2.17","time":"2024-03-03T08:15:11Z","status":400,"bytes":0}`,
		`{"client_ip":"192.0.2.18","time":"2024-03-03T08:15:12Z","status":400,"bytes":0,"request":"quit"}`,
		`{"client_ip":"192.0.2.19","time":"2024-03-03T08:15:13Z","method":"GET","path":"/café","protocol":"HTTP/1.1","status":200,"bytes":12,"referer":"http://\\xe4\\xe5.example/","agent":"tab\there"}`,
		`{"client_ip":"192.0.2.20","time":"2024-03-03T08:15:14Z","method":"GET","path":"/café","protocol":"HTTP/1.1","status":200,"bytes":12}`,
		`{"client_ip":"192.0.2.21","time":"2024-03-03T08:15:15Z","method":"OPTIONS","path":"*","protocol":"HTTP/1.1","status":0,"bytes":0}`,
		`{"client_ip":"192.0.2.22","time":"2024-03-03T08:15:16Z","method":"M-SEARCH","path":"/x","protocol":"HTTP/1.1","status":405,"bytes":0}`,
	})
	same(t, "failed", r.Failed, lines[15:])
	var why []string
	for _, err := range r.Errors {
		why = append(why, err.Error())
	}
	same(t, "errors", why, []string{
		"apache_combined: byte 114: the closing quote of agent is missing",
		"apache_combined: byte 16: time is no time: 31/Jun/2024:08:15:18 +0000",
		"apache_combined: byte 67: status should be a number or -",
		"apache_combined: byte 72: the line ends after bytes",
		"apache_combined: byte 78: the line goes on where it should end",
	})
}

func TestParseApacheMistakes(t *testing.T) {
	f := func(format, line, want string) {
		t.Helper()
		fails(t, run(t, newParse(format), line), format+": "+want)
	}
	f("apache_combined", "", "byte 0: client_ip is missing")
	f("apache_combined", " - - [", "byte 0: client_ip is missing")
	f("apache_combined", "word", "byte 4: the line ends after client_ip")
	f("apache_combined", "ip - ", "byte 5: user and a time in brackets should be here")
	f("apache_combined", "ip - - [now] ", "byte 7: time is not like [")
	f("apache_combined", "ip - - [03/Mar/2024:08:15:02 +0000]", "byte 35: the line ends after time")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000]"GET`, "byte 35: a space should follow time")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] GET`, "byte 36: request in double quotes should be here")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "GET`, "byte 40: the closing quote of request is missing")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "GET\"`, "byte 42: the closing quote of request is missing")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1x 2 "-" "-"`, "byte 40: status should be a number or -")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1  "-" "-"`, "byte 42: bytes is missing")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 2 - "-"`, "byte 44: referer in double quotes should be here")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 2 "-""-"`, "byte 47: a space should follow referer")
	f("apache_combined", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 2 "-" "-"x`, "byte 51: the line goes on")
	f("apache_common", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 `, "byte 42: bytes is missing")
	f("apache_common", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 2 "-" "-"`, "byte 44: the line goes on")
	f("apache_common", `ip - - [03/Mar/2024:08:15:02 +0000] "-" 1 x`, "byte 42: bytes should be a number or -")
}

func TestParseCommon(t *testing.T) {
	f := func(end, want string) {
		t.Helper()
		in := `ip - - [03/Mar/2024:08:15:02 +0000] "GET /a HTTP/1.1" ` + end
		same(t, in, run(t, newParse("apache_common"), in).Emitted[""], []string{
			`{"client_ip":"ip","time":"2024-03-03T08:15:02Z","method":"GET","path":"/a","protocol":"HTTP/1.1"` + want + `}`,
		})
	}
	f("200 17", `,"status":200,"bytes":17`)
	f("200 17\r", `,"status":200,"bytes":17`)
	f("200 17 ", `,"status":200,"bytes":17`)
	f("200 -", `,"status":200`)
	f("- -", ``)
}

func TestParseRequest(t *testing.T) {
	f := func(request, want string) {
		t.Helper()
		in := `ip - - [03/Mar/2024:08:15:02 +0000] "` + request + `" - -`
		same(t, in, run(t, newParse("apache_common"), in).Emitted[""], []string{
			`{"client_ip":"ip","time":"2024-03-03T08:15:02Z"` + want + `}`,
		})
	}
	f("-", ``)
	f("", ``)
	f("GET", `,"request":"GET"`)
	f(" ", `,"request":" "`)
	f("GET ", `,"method":"GET"`)
	f("GET /a", `,"method":"GET","path":"/a"`)
	f("GET /a b", `,"method":"GET","path":"/a b"`)
	f("GET /a b HTTP/1.1", `,"method":"GET","path":"/a b","protocol":"HTTP/1.1"`)
	f("GET HTTP/1.1", `,"method":"GET","protocol":"HTTP/1.1"`)
	f("GET  HTTP/1.1", `,"method":"GET","protocol":"HTTP/1.1"`)
	f("get /a HTTP/1.1", `,"request":"get /a HTTP/1.1"`)
	f("t3 12.2.1", `,"request":"t3 12.2.1"`)
}

func TestAppendRFC3339(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, ok := appendRFC3339(nil, []byte(in))
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, ok, want)
		}
	}
	f("17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03Z")
	f("17/May/2015:10:05:03 -0000", "2015-05-17T10:05:03Z")
	f("01/Jan/1999:00:00:00 +1245", "1999-01-01T00:00:00+12:45")
	f("31/Dec/2016:23:59:60 -0100", "2016-12-31T23:59:60-01:00")
	f("29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00Z")
	for _, bad := range []string{
		"", "now", "29/Feb/1900:00:00:00 +0000", "29/Feb/2023:00:00:00 +0000", "31/Apr/2023:00:00:00 +0000",
		"00/Jan/2023:00:00:00 +0000", "32/Jan/2023:00:00:00 +0000", "01/jan/2023:00:00:00 +0000", "01/Foo/2023:00:00:00 +0000",
		"01/Jan/2023:24:00:00 +0000", "01/Jan/2023:00:60:00 +0000", "01/Jan/2023:00:00:61 +0000", "01/Jan/2023:00:00:00 +2400",
		"01/Jan/2023:00:00:00 +0060", "01/Jan/2023:00:00:00 00000", "01/Jan/20x3:00:00:00 +0000", "01/Jan/x023:00:00:00 +0000",
		" 1/Jan/2023:00:00:00 +0000", "01/Jan/2023:0a:00:00 +0000", "01-Jan-2023:00:00:00 +0000", "01/Jan/2023 00:00:00 +0000",
		"01/Jan/2023:00:00:00 +000a", "01/Jan/2023:00:00:00+00000", "01/Jan/2023:00:00:00 +00000",
	} {
		f(bad, "")
	}
}

// Every minute-ish of some years agrees with the standard library.
func TestAppendRFC3339AgreesWithTime(t *testing.T) {
	zones := []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("", -8*3600)}
	i := 0
	for at := time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2005; at = at.Add(7*time.Hour + 13*time.Minute + 7*time.Second) {
		i++
		at := at.In(zones[i%3])
		got, ok := appendRFC3339(nil, at.AppendFormat(nil, "02/Jan/2006:15:04:05 -0700"))
		if want := at.Format(time.RFC3339); !ok || string(got) != want {
			t.Fatalf("got %s, %v, want %s", got, ok, want)
		}
	}
}

func TestParseApacheConforms(t *testing.T) {
	odd := strings.Replace(combinedLine, "curl", `a \"b\" c`, 1)
	cut := combinedLine[:len(combinedLine)-4]
	pipetest.Stage(t, func() pipe.Stage { return newParse("apache_combined") }, combinedLine, odd, cut)
	pipetest.Stage(t, func() pipe.Stage { return newParse("apache_common") }, combinedLine[:strings.Index(combinedLine, ` "-"`)])
}
