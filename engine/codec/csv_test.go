package codec

import (
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
)

func TestCSV(t *testing.T) {
	f := func(c Codec, in, want string) {
		t.Helper()
		if got := texts(read(t, c, in, 20)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	c := CSV()
	f(c, "", "")
	f(c, "a,b", "")
	f(c, "a,b\n1,2", `{"a":"1","b":"2"}`)
	f(c, "a,b\r\n1,2\r\n,\r\n", `{"a":"1","b":"2"}|{"a":"","b":""}`)
	f(c, "\n\na\n1\n\n2\n", `{"a":"1"}|{"a":"2"}`)
	f(c, "\xef\xbb\xbfa\n1\n", `{"a":"1"}`)
	f(c, "a\n\"\"\n", `{"a":""}`)
	f(c, "\"a,b\",\"\"\"\"\n\"x\n\",\"y\"\"z\"\n", `{"a,b":"x\n","\"":"y\"z"}`)
	f(c, "a\n\"x\r\ny\"\r\n", `{"a":"x\r\ny"}`)
	f(c, "a,b\n1\n1,2,3\n1,2\n", `!the record has 1 field, the header 2 columns|!the record has 3 fields, the header 2 columns|{"a":"1","b":"2"}`)
	f(c, "a,b\n1,x\"y\n1,2\n", `!field 2 has a quote inside, but is not in quotes|{"a":"1","b":"2"}`)
	f(c, "a,b\n\"1\"x,\"\n1,2\n", `!field 1 goes on after its closing quote|{"a":"1","b":"2"}`)
	f(c, "a,b\nx\"y,\"z\n1,2\n", `!field 1 has a quote inside, but is not in quotes|{"a":"1","b":"2"}`)
	f(c, "a\n\"1\n2\n", `!the quotes of field 1 are not closed`)
	f(c, "a\n\"1234567890\n1234567890\"\n1\n", `!record is larger than limits.max_event_bytes (20B): 24 bytes|{"a":"1"}`)
	semi := CSV()
	semi.Delimiter = ";"
	f(semi, "a;b\n1,5;2\n", `{"a":"1,5","b":"2"}`)
	bare := CSV()
	bare.Header, bare.Columns = false, []string{"x", "y"}
	f(bare, "1,2\n", `{"x":"1","y":"2"}`)
	both := CSV()
	both.Columns = []string{"x", "y"}
	f(both, "x,y\n1,2\n", `{"x":"1","y":"2"}`)
	f(both, "1,2\n3,4\n", `!the first record is not the header that columns announces; write header: false if the input has none|{"x":"3","y":"4"}`)
}

func TestCSVTypes(t *testing.T) {
	c := CSV()
	c.Types = "auto"
	f := func(in, want string) {
		t.Helper()
		if got := texts(read(t, c, "a,b\n"+in+",\n", plenty)); got != `{"a":`+want+`,"b":null}` {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("1", "1")
	f("-1.50", "-1.50")
	f("1e9", "1e9")
	f("1E-9", "1E-9")
	f("0", "0")
	f("0.1", "0.1")
	f("true", "true")
	f("false", "false")
	f("True", `"True"`)
	for _, s := range []string{"007", "+1", "1.", ".5", "1e", "e1", "-", "--1", "1 ", " 1", "0x1", "NaN", "1,2"[:2] + "x", "01.5", "-01"} {
		s = strings.ReplaceAll(s, ",", "_")
		f(s, `"`+s+`"`)
	}
	f(`"12"`, "12")
}

func TestCSVHeaderErrors(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		c := CSV()
		r := c.NewReader(strings.NewReader(in), 20)
		_, _, err := collect(t, r)
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: got %.200v, want %s", in, err, want)
		}
		var b pipe.Batch
		b.Reset(nil, "src", 0)
		if again := r.Read(&b); again != err {
			t.Errorf("%.40q: got %.200v, want the same error again", in, again)
		}
	}
	f("a,a\n1,2\n", `csv header: column "a" is there twice`)
	f("a,\n1,2\n", `csv header: column 2 has no name`)
	f("a,b\"\n1,2\n", `csv header: field 2 has a quote inside, but is not in quotes`)
	f(strings.Repeat("a", 21)+"\n1\n", `csv header: record is larger than limits.max_event_bytes (20B): 22 bytes`)
	f(strings.Repeat("a", 100_000)+"\n1\n", `csv header: record is larger than limits.max_event_bytes (20B): 100001 bytes`)
}

// The standard library and we must agree on what is a record, except that it
// turns \r\n within quotes into \n.
func FuzzCSVAgainstStandardLibrary(f *testing.F) {
	f.Add("a,b\n1,2\n")
	f.Add("\"a\"\"b\n\",c\nx,\"\"\n")
	f.Add("a\"b\n\"a\"b\n\"")
	f.Fuzz(func(t *testing.T, in string) {
		if strings.ContainsAny(in, "\r\ufeff") || strings.HasPrefix(in, string(bom)) {
			return
		}
		std := csv.NewReader(strings.NewReader(in))
		std.FieldsPerRecord = -1
		want, err := std.ReadAll()
		c := CSV()
		c.Header, c.Columns = false, []string{"c"}
		r := c.NewReader(nil, plenty)
		var got [][]string
		var bad error
		for rest := []byte(in); len(rest) > 0; {
			r.csv.next()
			n, _ := r.csv.scan(rest)
			cells, err := r.split(c.trim(rest[:n]))
			if err != nil {
				bad = err
				break
			}
			if len(c.trim(rest[:n])) > 0 {
				var row []string
				for _, x := range cells {
					row = append(row, string(x))
				}
				got = append(got, row)
			}
			rest = rest[n:]
		}
		if (err == nil) != (bad == nil) {
			t.Fatalf("%q: got error %v, the standard library %v", in, bad, err)
		}
		var parse *csv.ParseError
		if err != nil && !errors.As(err, &parse) {
			t.Fatal(err)
		}
		if err == nil && len(got) != len(want) {
			t.Fatalf("%q: got %q, want %q", in, got, want)
		}
		for i := range want {
			if err == nil && strings.Join(got[i], "\x00") != strings.Join(want[i], "\x00") {
				t.Fatalf("%q: got %q, want %q", in, got, want)
			}
		}
	})
}
