package syslog

import (
	"bytes"
	"time"
)

// rfc3164 takes what follows the priority as the RFC observes it. Nothing is
// wrong: what does not look like a part of the header is the message.
func (p *Parser) rfc3164(c *cursor) {
	if !p.time(c) {
		c.m.Text = c.rest()
		return
	}
	if c.tag() {
		return
	}
	data := c.rest() // no tag yet: a host name comes first
	n := bytes.IndexByte(data, ' ')
	if n <= 0 {
		c.m.Text = data
		return
	}
	c.m.Hostname = data[:n]
	c.at += n + 1
	if !c.tag() {
		c.m.Text = c.rest()
	}
}

// tag takes "name:", "name[pid]:" and "name[pid]", and the message behind it.
func (c *cursor) tag() bool {
	data := c.rest()
	word, after := data, []byte(nil)
	if n := bytes.IndexByte(data, ' '); n >= 0 {
		word, after = data[:n], data[n+1:]
	}
	name, colon := bytes.CutSuffix(word, []byte(":"))
	name, pid, bracket := cutPID(name)
	switch {
	case !colon && !bracket, len(name) == 0, bytes.ContainsAny(name, "[]\"="), bytes.HasSuffix(name, []byte(":")):
		return c.tightTag(data)
	}
	c.m.AppName, c.m.ProcID, c.m.Text = name, pid, after
	return true
}

// tightTag takes "name[pid]:message" and "name:message" without the space.
func (c *cursor) tightTag(data []byte) bool {
	n := 0
	for n < len(data) && isTag(data[n]) {
		n++
	}
	name, rest := data[:n], data[n:]
	if n == 0 || len(rest) == 0 || rest[0] != '[' {
		return false
	}
	end := bytes.Index(rest, []byte("]:"))
	if end < 2 || bytes.IndexByte(rest[:end], ' ') >= 0 {
		return false
	}
	c.m.AppName, c.m.ProcID, c.m.Text = name, rest[1:end], rest[end+2:]
	return true
}

func isTag(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.' || b == '/'
}

// cutPID takes [pid] off the end of a name.
func cutPID(word []byte) (name, pid []byte, found bool) {
	n := bytes.IndexByte(word, '[')
	if n <= 0 || word[len(word)-1] != ']' || n == len(word)-2 {
		return word, nil, false
	}
	return word[:n], word[n+1 : len(word)-1], true
}

// time takes the time and the space behind it.
func (p *Parser) time(c *cursor) bool {
	data := c.rest()
	if len(data) > 10 && data[4] == '-' && data[10] == 'T' { // as rsyslog forwards
		n := bytes.IndexByte(data, ' ')
		if n < 0 || n > 64 {
			return false
		}
		if _, err := time.Parse(time.RFC3339, string(data[:n])); err != nil {
			return false
		}
		c.m.Timestamp = data[:n]
		c.at += n + 1
		return true
	}
	t, n, ok := p.stamp(data)
	if !ok {
		return false
	}
	c.at += n
	c.m.room = t.AppendFormat(c.m.room, time.RFC3339Nano)
	c.m.Timestamp = c.m.room
	return true
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// stamp reads "Mar  1 23:30:00 ", of n bytes; the day may have a zero instead of
// the space, and a year may stand before or behind the time of the day.
func (p *Parser) stamp(data []byte) (t time.Time, n int, ok bool) {
	const size = len("Mar  1 23:30:00")
	if len(data) < size+1 || data[3] != ' ' || data[6] != ' ' {
		return t, 0, false
	}
	month := bytes.Index([]byte(months), data[:3])
	day, dayOK := number(bytes.TrimLeft(data[4:6], " "))
	if month < 0 || month%3 != 0 || !dayOK {
		return t, 0, false
	}
	rest, year := data[7:], p.Year
	if y, ok := number(rest[:4]); ok && rest[4] == ' ' {
		rest, year = rest[5:], y
	}
	clock, used, ok := clockOf(rest)
	if !ok {
		return t, 0, false
	}
	rest = rest[used:]
	if len(rest) > 5 && rest[0] == ' ' && (rest[5] == ' ' || rest[5] == ':') {
		if y, ok := number(rest[1:5]); ok && y > 1970 {
			rest, year = rest[5:], y
		}
	}
	rest, _ = bytes.CutPrefix(rest, []byte(":")) // as some routers write it
	if len(rest) == 0 || rest[0] != ' ' {
		return t, 0, false
	}
	t, ok = p.date(year, time.Month(month/3+1), day, clock)
	return t, len(data) - len(rest) + 1, ok
}

// clockOf reads "23:30:00" and perhaps a fraction, of n bytes.
func clockOf(data []byte) (d time.Duration, n int, ok bool) {
	if len(data) < 8 || data[2] != ':' || data[5] != ':' {
		return 0, 0, false
	}
	h, ok1 := number(data[:2])
	m, ok2 := number(data[3:5])
	s, ok3 := number(data[6:8])
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || s > 60 { // 60: a leap second
		return 0, 0, false
	}
	d = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
	n = 8
	if len(data) > 9 && data[8] == '.' {
		unit := time.Second
		for n = 9; n < len(data) && n < 18 && data[n] >= '0' && data[n] <= '9'; n++ {
			unit /= 10
			d += time.Duration(data[n]-'0') * unit
		}
		if n == 9 {
			return 0, 0, false
		}
	}
	return d, n, true
}

// number reads digits, all of b.
func number(b []byte) (n int, ok bool) {
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	return n, len(b) > 0
}

// date makes a time of its parts. Without a year it is the one nearest to now: what
// is logged on 31 December and read on 1 January is of the old year. A 29 February
// is of the nearest year that has one.
func (p *Parser) date(year int, month time.Month, day int, clock time.Duration) (time.Time, bool) {
	in := func(year int) (time.Time, bool) {
		t := time.Date(year, month, day, 0, 0, 0, 0, p.Zone)
		if t.Month() != month || t.Day() != day || day == 0 {
			return t, false
		}
		h := int(clock / time.Hour)
		return time.Date(year, month, day, h, 0, 0, int(clock-time.Duration(h)*time.Hour), p.Zone), true
	}
	if year != 0 {
		return in(year)
	}
	now := p.Now().In(p.Zone)
	var best time.Time
	found := false
	for away := 0; away <= 8 && (away <= 1 || !found); away++ {
		for _, y := range [2]int{now.Year() - away, now.Year() + away} {
			if t, ok := in(y); ok && (!found || t.Sub(now).Abs() < best.Sub(now).Abs()) {
				best, found = t, true
			}
		}
	}
	return best, found
}
