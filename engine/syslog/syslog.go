// Package syslog reads and writes syslog messages, as RFC 3164 describes them and
// as RFC 5424 defines them.
//
// Reading allocates nothing but what the message does not have as it is needed:
// a time in another notation, and values without their escapes.
package syslog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// Format is how a message is written.
type Format string

// The formats.
const (
	Auto    Format = "auto" // reading only: RFC 5424 when a version and a time of it follow the priority, else RFC 3164
	RFC3164 Format = "rfc3164"
	RFC5424 Format = "rfc5424"
)

// The fields of an event that is a syslog message, in their order.
const (
	FieldFacility = iota
	FieldSeverity
	FieldTimestamp
	FieldHostname
	FieldAppName
	FieldProcID
	FieldMsgID
	FieldStructuredData
	FieldMessage
	fieldCount
)

// Names are the names of the fields, by their numbers.
var Names = [fieldCount]string{"facility", "severity", "timestamp", "hostname", "app_name", "proc_id", "msg_id", "structured_data", "message"}

var severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// otherNames are severities as other programs spell them.
var otherNames = map[string]int{"emergency": 0, "panic": 0, "critical": 2, "fatal": 2, "error": 3, "warn": 4, "informational": 6, "information": 6, "trace": 7}

// SeverityOf returns the number of a severity's name, and whether there is such a
// one. The names of RFC 5424 and of common loggers are known: err, error, warn.
func SeverityOf(name string) (int, bool) {
	name = strings.ToLower(name)
	if i := slices.Index(severities, name); i >= 0 {
		return i, true
	}
	i, ok := otherNames[name]
	return i, ok
}

// FacilityOf returns the number of a facility's name, and whether there is such a one.
func FacilityOf(name string) (int, bool) {
	i := slices.Index(facilities, strings.ToLower(name))
	return i, i >= 0
}

// FacilityNames lists the facilities by their numbers, for messages to people.
func FacilityNames() string { return strings.Join(facilities, ", ") }

// SeverityNames lists the severities by their numbers, for messages to people.
func SeverityNames() string { return strings.Join(severities, ", ") }

// Message is a syslog message taken apart. Its bytes are those of the line, where
// they could be; what is absent is nil.
type Message struct {
	Facility  int // 0 to 23
	Severity  int // 0 to 7
	Timestamp []byte
	Hostname  []byte
	AppName   []byte
	ProcID    []byte
	MsgID     []byte
	Data      []Element
	Text      []byte

	room []byte // for what the line does not have as it is needed
}

// Element is a structured data element.
type Element struct {
	ID     []byte
	Params []Param
}

// Param is a parameter of an element. One element may have several of one name.
type Param struct{ Name, Value []byte }

// Each calls f for every field that the message has, in their order. The values
// are valid as long as the message and its line are.
func (m *Message) Each(f func(field int, v record.Value)) {
	f(FieldFacility, record.Str(facilities[m.Facility]))
	f(FieldSeverity, record.Str(severities[m.Severity]))
	text := func(field int, b []byte) {
		if b != nil {
			f(field, record.Text(b))
		}
	}
	text(FieldTimestamp, m.Timestamp)
	text(FieldHostname, m.Hostname)
	text(FieldAppName, m.AppName)
	text(FieldProcID, m.ProcID)
	text(FieldMsgID, m.MsgID)
	if m.Data != nil {
		f(FieldStructuredData, record.RawJSON(m.appendData(nil)))
	}
	text(FieldMessage, m.Text)
}

// Body returns an event with the fields of the message.
func (m *Message) Body(a *record.Arena) record.Body {
	body := record.NewObject(a, int(fieldCount))
	m.Each(func(field int, v record.Value) { body.Add(a, Names[field], v) })
	return body
}

// appendData appends the structured data as JSON: an object of the elements, each
// an object of its parameters; several of one name are an array.
func (m *Message) appendData(dst []byte) []byte {
	dst = append(dst, '{')
	for i, e := range m.Data {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(record.AppendQuoted(dst, e.ID), ':', '{')
		first := true
		for j, p := range e.Params {
			if slices.ContainsFunc(e.Params[:j], p.sameName) {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendParam(append(record.AppendQuoted(dst, p.Name), ':'), p, e.Params[j+1:])
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

func (p Param) sameName(q Param) bool { return string(p.Name) == string(q.Name) }

// appendParam appends the value of p, and of those among more that have its name.
func appendParam(dst []byte, p Param, more []Param) []byte {
	if !slices.ContainsFunc(more, p.sameName) {
		return record.AppendQuoted(dst, p.Value)
	}
	dst = record.AppendQuoted(append(dst, '['), p.Value)
	for _, q := range more {
		if p.sameName(q) {
			dst = record.AppendQuoted(append(dst, ','), q.Value)
		}
	}
	return append(dst, ']')
}

// Zone returns the time zone of a `timezone` option: local, UTC or a name of the
// IANA database such as Europe/Berlin.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return nil, pipe.Fieldf("timezone", "a name is needed: local, UTC or one such as Europe/Berlin")
	}
	if strings.EqualFold(name, "local") {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, &pipe.FieldError{Field: "timezone", Err: fmt.Errorf("unknown time zone %q", name), Hint: "local, UTC or a name such as Europe/Berlin"}
	}
	return zone, nil
}
