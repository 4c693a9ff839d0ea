package stages

import (
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

func init() {
	pipe.RegisterStage("parse", func() pipe.Stage {
		return &Parse{Field: "message", Delimiter: ",", PairSeparator: " ", ValueSeparator: "=", Zone: "UTC", Output: "rfc3339", CacheEntries: 4096}
	})
}

// Parse takes a line of text apart and puts the parts into the event as fields,
// at the top or into target. An event whose line does not match fails, and leaves
// as it came; the error says what should have been at which byte (counted from 0).
//
//	stages:
//	  access: {type: parse, format: apache_combined}
//	  orders: {type: parse, format: csv, columns: [id, item, price], types: {price: float}}
//	  labels: {type: parse, format: regex, field: title, pattern: '^\[(?P<label>\w+)\] '}
//	  pages:  {type: parse, format: url, field: path, target: page}
//	  when:   {type: parse, format: timestamp, field: time, layouts: ['%d.%m.%Y %H:%M'], zone: Europe/Berlin}
//
// What apache_combined makes of a line:
//
//   - client_ip, ident, user, time, method, path, protocol, status, bytes,
//     referer, agent. A "-" in the line means that the field is absent.
//   - status and bytes are numbers. time is RFC 3339: 17/May/2015:10:05:03 +0000
//     becomes 2015-05-17T10:05:03Z.
//   - Escapes in quotes (\" \\ \n \xhh) are undone, unless that would not be
//     UTF-8: then the text stays as it was logged.
//   - A request that is not METHOD PATH PROTOCOL does not fail the line. GET /x
//     has no protocol; "-" has none of the three; anything else that does not
//     begin with a method goes into a field request as it is.
//
// apache_common is the same without referer and agent. In all formats, bytes that
// are not UTF-8 become U+FFFD.
//
// Whatever a line says, the time to parse it grows with its length only: regular
// expressions are RE2, and nothing is tried again and again.
//
// Example:
//
//	type: parse
//	format: apache_combined
type Parse struct {
	// Format is how the line is written. json: an object, whose fields go to the
	// top. csv: cells as RFC 4180 quotes them; a line must have as many cells as
	// there are columns. logfmt: key=value and key="quoted value"; a key alone is
	// true; of equal keys the last one counts. key_value: the same with separators
	// of your own, see pair_separator. regex: see pattern. grok: see patterns.
	// apache_common and apache_combined: access logs of Apache and nginx. nginx: see
	// log_format. syslog: messages of RFC 3164 and RFC 5424, whichever they are.
	//
	// url: scheme, user, host, port (a number), path, query (an object; a name that
	// occurs several times has a list) and fragment; what the text does not have is
	// absent, so /a?b=c has path and query. A password is left out. %41 and + are
	// undone in query and user only, where they are right.
	//
	// user_agent: name, version, os, os_version, device, brand and model of the
	// program that sent a request, and bot, true or false. What is not known is
	// absent. A text that is not among the last cache_entries ones costs more than a
	// millisecond of one core.
	//
	// timestamp: see layouts. It gives a single value, which replaces the text unless
	// there is a target.
	Format string `yaml:"format" required:"true" enum:"json,csv,logfmt,key_value,regex,grok,apache_common,apache_combined,nginx,syslog,url,user_agent,timestamp"`

	// Field is the path of the text to parse, message by default, which is the
	// whole of an event that is a line. It must be a text. It is removed when it
	// has been parsed, unless keep_source is set.
	Field string `yaml:"field"`

	// Target is the path of the object that the fields go into, as in target: url;
	// it replaces what is there. Without one they go to the top of the event.
	Target string `yaml:"target"`

	// KeepSource keeps the parsed text in its field, unless the line has a field
	// of the same name, which then replaces it.
	KeepSource bool `yaml:"keep_source"`

	// Columns names the fields of csv from left to right. An empty name ("")
	// leaves a column out.
	Columns []string `yaml:"columns"`

	// Delimiter is the one character between the cells of csv, a comma by
	// default; "\t" is a tab.
	Delimiter string `yaml:"delimiter"`

	// Pattern is a regular expression (RE2) whose named groups, (?P<name>...), are
	// the fields. It may match anywhere in the text: begin it with ^ and end it
	// with $ to match all of it. A group that took no part is absent.
	Pattern Regexp `yaml:"pattern"`

	// PairSeparator is what stands between the pairs of key_value, a space by
	// default (several count as one, as does any white space); such as "&" or "; ".
	// Spaces around keys and around values without quotes are left out.
	PairSeparator string `yaml:"pair_separator"`

	// ValueSeparator is what stands between key and value of key_value, "=" by
	// default. A value may be in double or single quotes and have any separator in
	// it then, and \" or \' for a quote. A key alone is true.
	ValueSeparator string `yaml:"value_separator"`

	// LogFormat is how nginx writes its log: the text of log_format in nginx.conf, or
	// the whole directive with its quotes, which may be on several lines. By default
	// it is nginx's own, combined. The fields are the variables without their $. "-"
	// and an empty value make an absent field; numbers such as $status, $request_time
	// and $body_bytes_sent become numbers; $time_local becomes RFC 3339 as in
	// apache_combined; $request becomes request_method, request_uri and
	// server_protocol. A value ends where the text that follows it in the format
	// comes first, so two variables need something between them. (For a format
	// that writes JSON use the format json.)
	LogFormat string `yaml:"log_format"`

	// Patterns are what grok tries, in this order, until one matches: regular
	// expressions (RE2) with %{NAME} for a pattern known by name, %{NAME:field} to make
	// a field of what it matches, %{NAME:field:int} for one that is a number (int,
	// long, float, double, bool, string and auto). A field with dots, %{IP:client.ip},
	// goes into objects; one that occurs twice has the last value that matched, and
	// one that is empty is absent. A pattern may match anywhere in the text: begin it
	// with ^ and end it with $ to match all of it. (?P<field>...) makes a field, too.
	Patterns []string `yaml:"patterns"`

	// Definitions are patterns of your own for %{NAME}, by name; one of a known name
	// replaces it.
	Definitions map[string]string `yaml:"definitions"`

	// Layouts says how a timestamp may be written; they are tried in this order. The
	// names: rfc3339 (a space may be in place of T), iso8601 (the same without zone,
	// without seconds or with a comma before the fraction as well), unix, unix_ms,
	// unix_us and unix_ns (numbers; with a fraction), common_log
	// (17/May/2015:10:05:03 +0000), rfc2822 (mail), http, rfc3164 (syslog; without a
	// year) and ctime. Anything with a % is a strftime layout, such as
	// "%d.%m.%Y %H:%M:%S". Names of months and days are English.
	//
	// A layout without a year means the latest such time that is not more than a
	// day after the event was read. Read again much later, it may mean another year.
	// Without a day it means the day the event was read.
	Layouts []string `yaml:"layouts"`

	// Zone is where the clock was whose timestamp, or syslog message, says no zone itself: UTC (the
	// default), Local (that of this machine) or a name such as Europe/Berlin. In
	// the hour that a change of clocks repeats, the first one is meant.
	Zone string `yaml:"zone"`

	// Output is how a timestamp is written: rfc3339 (the default: with the zone it
	// had and as much of a fraction as it needs), utc (the same in UTC), or as a number unix,
	// unix_ms, unix_us or unix_ns, of which the first may have a fraction.
	Output string `yaml:"output" enum:"rfc3339,utc,unix,unix_ms,unix_us,unix_ns"`

	// CacheEntries is how many user agents are remembered, 4096 by default, with
	// about 1 KiB each. A longer text than 1024 bytes is cut there before it is
	// looked at.
	CacheEntries int `yaml:"cache_entries" min:"1" max:"1000000"`

	// Types says what the fields of csv, logfmt, key_value, regex, grok and nginx become: string (the
	// default), int, float, bool or auto, by name, as in {price: float}; "*" stands
	// for all fields not named, as in {id: string, "*": auto}. auto makes numbers
	// and booleans of what is written as JSON writes them and leaves all else
	// alone, so 007 stays text. A value that is not of its type fails the event;
	// an empty one is left out. A key alone in logfmt is always true, and what
	// logfmt quotes is text unless the field has a type of its own.
	Types FieldTypes `yaml:"types" enum:"string,int,float,bool,auto"`

	source *record.Path
	target *record.Path // nil for the top
	whole  bool         // the source is the one field of a line of text
	format *format
	parse  parser
}
