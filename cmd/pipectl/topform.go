package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine/config"
)

// edgeForm changes the settings of one edge.
type edgeForm struct {
	edge    string
	fields  []formField
	at      int    // the field that is edited
	trouble string // why the last attempt was refused
	busy    bool   // sent, and no answer yet
}

// formField is one setting: a choice between words, or a text.
type formField struct {
	label string
	path  string // of the setting; empty for confirm
	only  string // the policy that it belongs to; empty for all
	words []string
	text  []rune
	was   string // at the beginning
	empty string // what an empty text means
}

const confirmLabel = "take back"

// newEdgeForm makes a form with the settings that an edge has now.
func newEdgeForm(id string, now edgeSettingsNow) *edgeForm {
	field := func(label, path, only, was, empty string, words ...string) formField {
		return formField{label: label, path: path, only: only, words: words, text: []rune(was), was: was, empty: empty}
	}
	option := func(name string) string {
		if v, ok := now.Policy[name]; ok {
			return fmt.Sprint(v)
		}
		return ""
	}
	age := now.Buffer.Age
	if age == "0s" {
		age = ""
	}
	return &edgeForm{edge: id, fields: []formField{
		field("policy", "policy.type", "", option("type"), "", policyNames...),
		field("timeout", "policy.timeout", config.Block, option("timeout"), "as long as it takes"),
		field("then", "policy.then", config.Block, option("then"), "drop-newest", "", "drop-newest", "drop-oldest", "fail"),
		field("base rate", "policy.base_rate", config.Sample, option("base_rate"), "1: all, below the threshold"),
		field("min rate", "policy.min_rate", config.Sample, option("min_rate"), "0.01, when it is full"),
		field("threshold", "policy.threshold", config.Sample, option("threshold"), "0.8 full"),
		field("key", "policy.key", config.Sample, option("key"), "each event on its own"),
		field("events", "buffer.events", "", fmt.Sprint(now.Buffer.Events), "as it is"),
		field("bytes", "buffer.bytes", "", now.Buffer.Bytes, "as it is"),
		field("age", "buffer.age", "", age, "never too old"),
		field("on drop", "on_drop", "", now.OnDrop, "", "ack", "nack"),
		field(confirmLabel, "", "", "", "never", "", "30s", "60s", "5m"),
	}}
}

// shown are the indexes of the fields that the policy has.
func (f *edgeForm) shown() []int {
	var list []int
	for i, field := range f.fields {
		if field.only == "" || field.only == string(f.fields[0].text) {
			list = append(list, i)
		}
	}
	return list
}

// move goes to another field.
func (f *edgeForm) move(by int) {
	list := f.shown()
	i := slices.Index(list, f.at) + by
	f.at = list[(i+len(list))%len(list)]
}

// choose takes another word of a choice.
func (f *edgeForm) choose(by int) {
	field := &f.fields[f.at]
	if n := len(field.words); n > 0 {
		i := slices.Index(field.words, string(field.text)) + by
		field.text = []rune(field.words[(i+n)%n])
	}
}

// enter types text into the field.
func (f *edgeForm) enter(text string) {
	if field := &f.fields[f.at]; len(field.words) == 0 {
		field.text = append(field.text, []rune(printable(text))...)
	}
}

// erase removes the last character, or all of them.
func (f *edgeForm) erase(all bool) {
	field := &f.fields[f.at]
	if len(field.words) > 0 || len(field.text) == 0 {
		return
	}
	field.text = field.text[:len(field.text)-1]
	if all {
		field.text = nil
	}
}

// change is what the form asks for: only what differs from what was; of a policy
// all that is filled in, since a policy is given as a whole.
func (f *edgeForm) change() (s settings, t trial, err error) {
	changed := map[string]string{}
	policyToo := false
	for _, i := range f.shown() {
		field := f.fields[i]
		text := strings.TrimSpace(string(field.text))
		switch {
		case field.label == confirmLabel:
			if text != "" {
				if t.confirm, err = time.ParseDuration(text); err != nil {
					return s, t, err
				}
			}
		case strings.HasPrefix(field.path, "policy."):
			policyToo = policyToo || text != field.was
		case text != field.was && field.path == "buffer.age":
			changed[field.path] = cmp.Or(text, "0s")
		case text != field.was && text != "":
			changed[field.path] = text
		}
	}
	for _, i := range f.shown() {
		field := f.fields[i]
		if text := strings.TrimSpace(string(field.text)); policyToo && text != "" && strings.HasPrefix(field.path, "policy.") {
			changed[field.path] = text
		}
	}
	for path, text := range changed {
		if err := s.set(path, text); err != nil {
			return s, t, err
		}
	}
	return s, t, nil
}

// rows draws the form, and says where the cursor of the terminal stands in it.
func (f *edgeForm) rows(t topFrame) (rows []*row, x, y int) {
	rows = []*row{t.rule("change " + f.edge)}
	for _, i := range f.shown() {
		field, r := f.fields[i], t.row()
		label := padRight(field.label, 11)
		if i == f.at {
			r.put(cyan, "▸ ")
			r.put(bold, label)
		} else {
			r.put(plain, "  "+label)
		}
		text, style := string(field.text), plain
		if text != field.was {
			style = yellow
		}
		if len(field.words) > 0 {
			r.put(style, choice(cmp.Or(text, field.empty), i == f.at))
		} else {
			if i == f.at {
				x, y = r.width+len(field.text), len(rows)
			}
			r.put(style, text)
			r.item(dim, ifText(text == "", " "+field.empty))
		}
		r.item(dim, ifText(text != field.was && field.was != "", "  was "+field.was))
		r.item(dim, ifText(field.label == confirmLabel && text != "", "  unless it is confirmed by then"))
		rows = append(rows, r)
	}
	switch {
	case f.busy:
		rows = append(rows, t.text("  applying …")...)
	case f.trouble != "":
		for _, line := range wrap(f.trouble, t.row().max-3, 3) {
			r := t.row()
			r.put(red, "  "+line)
			rows = append(rows, r)
		}
	}
	return rows, x, y
}

// choice draws a word that can be changed for another.
func choice(word string, active bool) string {
	if active {
		return "‹ " + word + " ›"
	}
	return word
}
