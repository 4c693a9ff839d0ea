package stages

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/itchyny/timefmt-go"
)

// strftimeParts says what a strftime layout has.
type strftimeParts struct{ year, day, zone, name bool }

// strftimeDirectives are the directives there are, by what they give: y a year,
// d a day or something of it, z an offset, Z the name of a zone.
var strftimeDirectives = map[byte]string{
	'Y': "y", 'y': "y", 'G': "y", 'g': "y", 'C': "y", 's': "ydz", 'c': "yd", '+': "ydZ", 'v': "yd", 'F': "yd", 'D': "yd", 'x': "yd",
	'm': "d", 'B': "d", 'b': "d", 'h': "d", 'd': "d", 'e': "d", 'j': "d", 'U': "d", 'W': "d", 'V': "d",
	'A': "", 'a': "", 'w': "", 'u': "", 'k': "", 'H': "", 'l': "", 'I': "", 'P': "", 'p': "", 'M': "", 'S': "", 'f': "",
	'Z': "Z", 'z': "z", 't': "", 'n': "", '%': "", 'r': "", 'T': "", 'X': "", 'R': "",
}

func readStrftime(layout string) (parts strftimeParts, err error) {
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' {
			continue
		}
		i++
		for i < len(layout) && layout[i] == ':' { // %:z
			i++
		}
		if i == len(layout) {
			return parts, errors.New("ends with %; write %% for a percent sign")
		}
		gives, ok := strftimeDirectives[layout[i]]
		if !ok || layout[i-1] == ':' && layout[i] != 'z' {
			return parts, fmt.Errorf("there is no %%%c in strftime", layout[i])
		}
		parts.year = parts.year || strings.Contains(gives, "y")
		parts.day = parts.day || strings.Contains(gives, "d")
		parts.zone = parts.zone || strings.Contains(gives, "z")
		parts.name = parts.name || strings.Contains(gives, "Z")
	}
	return parts, nil
}

// strftimeLayout makes a parser of a strftime layout.
func strftimeLayout(layout string) (func(string, *time.Location, time.Time) (time.Time, error), error) {
	has, err := readStrftime(layout)
	if err != nil {
		return nil, err
	}
	parse := func(layout, text string, zone *time.Location) (time.Time, error) {
		t, err := timefmt.ParseInLocation(text, layout, zone)
		switch {
		case err != nil, rolledOver(t, layout, text):
			return t, errTime
		case has.name && !has.zone:
			if err := knownZone(t, zone); err != nil {
				return t, err
			}
		}
		return inZone(t, zone), nil
	}
	switch {
	case !has.year && has.day:
		return func(text string, zone *time.Location, read time.Time) (time.Time, error) {
			return latest(zone, read, func(year string) (time.Time, error) {
				return parse("%Y "+layout, year+" "+text, zone)
			})
		}, nil
	case !has.year:
		return func(text string, zone *time.Location, read time.Time) (time.Time, error) {
			day := read.In(zone).Format("2006-01-02 ")
			return parse("%F "+layout, day+text, zone)
		}, nil
	}
	return func(text string, zone *time.Location, _ time.Time) (time.Time, error) {
		return parse(layout, text, zone)
	}, nil
}

// rolledOver reports whether t is 1 to 3 May because the text says 31 April or
// such a day: then the number of the day in it differs from that of t.
func rolledOver(t time.Time, layout, text string) bool {
	if t.Day() > 3 {
		return false
	}
	again := timefmt.Format(t, layout)
	for {
		var was, is int
		var more, moreAgain bool
		was, text, more = nextNumber(text)
		is, again, moreAgain = nextNumber(again)
		if !more || !moreAgain {
			return false
		}
		if is == t.Day() && was >= 29 && was <= 31 {
			return true
		}
	}
}

// nextNumber returns the value of the first run of digits, and what is after it.
// Numbers of more than two digits are cut into pairs, as layouts such as %Y%m%d have them.
func nextNumber(s string) (n int, rest string, ok bool) {
	i := strings.IndexAny(s, "0123456789")
	if i < 0 {
		return 0, "", false
	}
	s = s[i:]
	for i = 0; i < len(s) && i < 2 && s[i]-'0' <= 9; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n, s[i:], true
}
