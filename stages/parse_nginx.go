package stages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/record"
)

// nginxCombined is the log_format that nginx has built in.
const nginxCombined = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`

// nginxFormat is a compiled log_format: a text, then variables, each with the
// text that follows it.
type nginxFormat struct {
	before []byte
	vars   []nginxVar
	json   bool // escape=json: backslashes as JSON has them
	raw    bool // escape=none
}

type nginxVar struct {
	name  name
	after []byte
	kind  fieldType
	what  nginxWhat
	quote bool // what follows begins with a quote that a backslash may hide
	skip  bool // another variable of the same name comes later
	parts [3]name
}

// nginxWhat says what is special about a variable.
type nginxWhat uint8

const (
	nginxPlain nginxWhat = iota
	nginxTime
	nginxRequest
)

// nginxTypes are the variables that nginx always writes as whole numbers, and
// those that may be a number, a list of them, or nothing.
var nginxTypes = map[string]fieldType{
	"status": asInt, "body_bytes_sent": asInt, "bytes_sent": asInt, "request_length": asInt,
	"connection": asInt, "connection_requests": asInt, "pid": asInt,
	"request_time": asAuto, "msec": asAuto, "connection_time": asAuto, "gzip_ratio": asAuto, "content_length": asAuto,
	"remote_port": asAuto, "server_port": asAuto, "upstream_status": asAuto, "upstream_response_time": asAuto,
	"upstream_connect_time": asAuto, "upstream_header_time": asAuto, "upstream_response_length": asAuto,
	"upstream_bytes_received": asAuto, "upstream_bytes_sent": asAuto,
}

var requestParts = [3]string{"request_method", "request_uri", "server_protocol"}

func (p *Parse) validateNginx() error {
	_, err := compileNginx(p.LogFormat, p.Types)
	return err
}

func (p *Parse) nginxParser() (parser, error) {
	f, err := compileNginx(p.LogFormat, p.Types)
	if err != nil {
		return nil, err
	}
	return f.parse, nil
}

var nginxVariable = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)\})`)

// compileNginx reads a log_format as a user writes it.
func compileNginx(text string, types FieldTypes) (*nginxFormat, error) {
	bad := func(format string, args ...any) error {
		return fieldError("log_format", `such as '$remote_addr [$time_local] "$request" $status'`, format, args...)
	}
	if text == "" {
		text = nginxCombined
	}
	f := &nginxFormat{}
	text, err := f.directive(strings.TrimSpace(text))
	if err != nil {
		return nil, bad("%w", err)
	}
	at := nginxVariable.FindAllStringSubmatchIndex(text, -1)
	if len(at) == 0 {
		return nil, bad("has no variables, so it would give no field")
	}
	f.before = []byte(text[:at[0][0]])
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		v := nginxVar{after: []byte(text[m[1]:end])}
		v.name.plain = text[max(m[2], m[4]):max(m[3], m[5])]
		if len(v.after) == 0 && i+1 < len(at) {
			return nil, bad("nothing stands between $%s and the next variable, so nobody can tell where it ends", v.name.plain)
		}
		v.quote = f.json && len(v.after) > 0 && v.after[0] == '"'
		f.vars = append(f.vars, v)
	}
	for name := range types {
		known := func(v nginxVar) bool { return v.name.plain == name }
		if name != everyField && !slices.ContainsFunc(f.vars, known) {
			return nil, fieldError("types."+name, "", "log_format has no variable $%s", name)
		}
	}
	f.plan(types)
	return f, nil
}

// plan decides what becomes of each variable.
func (f *nginxFormat) plan(types FieldTypes) {
	last := map[string]int{}
	for i, v := range f.vars {
		last[v.name.plain] = i
	}
	for i := range f.vars {
		v := &f.vars[i]
		plain := v.name.plain
		v.skip = last[plain] != i
		v.kind = nginxTypes[plain]
		if _, ok := types[plain]; ok || types[everyField] != "" {
			v.kind = types.of(plain)
		}
		switch _, own := types[plain]; {
		case own:
		case plain == "time_local":
			v.what, v.kind = nginxTime, asString
		case plain == "request":
			v.what, v.kind = nginxRequest, asString
			for j, part := range requestParts {
				if _, there := last[part]; !there {
					v.parts[j] = newName(part)
				}
			}
		}
		v.name = newName(plain)
	}
}

// directive takes the text of the format out of a log_format directive; any
// other text is the format itself.
func (f *nginxFormat) directive(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, "log_format")
	if !ok || rest == "" || rest[0] > ' ' {
		return text, nil
	}
	rest = strings.TrimSuffix(strings.TrimSpace(rest), ";")
	_, rest, _ = strings.Cut(rest, " ") // its name
	rest = strings.TrimSpace(rest)
	if how, ok := strings.CutPrefix(rest, "escape="); ok {
		how, rest, _ = strings.Cut(how, " ")
		switch strings.TrimSpace(how) {
		case "default":
		case "json":
			f.json = true
		case "none":
			f.raw = true
		default:
			return "", fmt.Errorf("unknown escape=%s", how)
		}
	}
	var out strings.Builder
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		quote := rest[0]
		if quote != '\'' && quote != '"' {
			word, after, _ := strings.Cut(rest, " ")
			out.WriteString(word)
			rest = after
			continue
		}
		end := 1
		for end < len(rest) && rest[end] != quote {
			if rest[end] == '\\' && end+1 < len(rest) {
				end++
			}
			end++
		}
		if end >= len(rest) {
			return "", errors.New("a quote is not closed")
		}
		out.WriteString(strings.NewReplacer(`\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(rest[1:end]))
		rest = rest[end+1:]
	}
	return out.String(), nil
}

func (f *nginxFormat) parse(line []byte, out *fields, a *record.Arena) error {
	c := out.cursor(bytes.TrimRight(line, "\r\n"))
	if !bytes.HasPrefix(c.line, f.before) {
		return fmt.Errorf("nginx: byte 0: the line does not begin with %q", clip(f.before))
	}
	c.at = len(f.before)
	for i := range f.vars {
		v := &f.vars[i]
		start := c.at
		value, ok := v.take(&c)
		if !ok {
			return fmt.Errorf("nginx: byte %d: %q should follow %s", start, clip(v.after), v.name.plain)
		}
		if v.skip {
			continue
		}
		if value = dashless(value); len(value) == 0 {
			continue
		}
		if err := f.put(v, f.unescape(&c, value), start, &c, out, a); err != nil {
			return err
		}
	}
	out.room = c.room
	if len(bytes.TrimSpace(c.line[c.at:])) > 0 {
		return fmt.Errorf("nginx: byte %d: the line goes on where it should end", c.at)
	}
	return nil
}

// take takes the value of v and the text after it.
func (v *nginxVar) take(c *cursor) ([]byte, bool) {
	start := c.at
	if len(v.after) == 0 {
		c.at = len(c.line)
		return c.line[start:], true
	}
	if rest := c.line[start:]; len(rest) > 0 && rest[0] == '-' && bytes.HasPrefix(rest[1:], v.after) {
		c.at = start + 1 + len(v.after)
		return rest[:1], true
	}
	for at := start; ; at++ { // faster than bytes.Index for texts as short as these
		n := bytes.IndexByte(c.line[at:], v.after[0])
		if n < 0 {
			return nil, false
		}
		if at += n; bytes.HasPrefix(c.line[at:], v.after) && !(v.quote && escaped(c.line[start:at])) {
			c.at = at + len(v.after)
			return c.line[start:at], true
		}
	}
}

func (f *nginxFormat) unescape(c *cursor, b []byte) []byte {
	switch {
	case f.raw || bytes.IndexByte(b, '\\') < 0:
		return b
	case !f.json:
		return c.unescape(b)
	}
	var text string
	if json.Unmarshal(slices.Concat([]byte{'"'}, b, []byte{'"'}), &text) != nil {
		return b
	}
	return []byte(text)
}

// put adds the field of a variable.
func (f *nginxFormat) put(v *nginxVar, value []byte, at int, c *cursor, out *fields, a *record.Arena) error {
	switch v.what {
	case nginxTime:
		start := len(c.room)
		var ok bool
		if c.room, ok = appendRFC3339(c.room, value); !ok {
			return fmt.Errorf("nginx: byte %d: time_local is no time: %s", at, clip(value))
		}
		out.add(&v.name, record.Text(c.room[start:]))
		return nil
	case nginxRequest:
		var p accessLine
		p.splitRequest(value)
		if p[partRequest] != nil {
			out.add(&v.name, record.Text(p[partRequest]))
		}
		for i, part := range [3]int{partMethod, partPath, partProtocol} {
			if p[part] != nil && v.parts[i].plain != "" {
				out.add(&v.parts[i], record.Text(p[part]))
			}
		}
		return nil
	}
	return out.convert("nginx", &v.name, value, v.kind, at, a)
}
