package codec

import (
	"strings"
	"testing"
)

func TestNDJSON(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		items := read(t, NDJSON(), in, 20)
		for i := range items { // what exactly is wrong is told by the record package
			if head, _, ok := strings.Cut(items[i].fail, ": "); ok {
				items[i].fail = head + " " + items[i].text
			}
		}
		if got := texts(items); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("", "")
	f("\n \n\t\r\n", "")
	f(`{"a":1}`, `{"a":1}`)
	f(" {\"a\":1} \r\n{}\n", `{"a":1}|{}`)
	f("{}\n{\n{}\n", "{}|!not a JSON object {|{}")
	f("{}{}\n{}\n", "!not a JSON object {}{}|{}")
	f("[]\n1\n", "!not a JSON object []|!not a JSON object 1")
	f("{\"a\":\"\xff\"}\n{}\n", "!not a JSON object {\"a\":\"\xff\"}|{}")
	f(`{"a":"12345678901234567890"}`+"\n{}\n", `!line is larger than limits.max_event_bytes (20B) {"a":"12345678901234|{}`)
}

func TestJSON(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		items := read(t, JSON(), in, 25)
		for i := range items {
			if head, _, ok := strings.Cut(items[i].fail, ": "); ok {
				items[i].fail = head + " " + items[i].text
			}
			items[i].text = strings.Join(strings.Fields(items[i].text), "")
		}
		if got := texts(items); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("", "")
	f(" \n", "")
	f("{}\n{}\n", "{}|{}")
	f("{\n \"a\": 1\n}\n{\n}", `{"a":1}|{}`)
	f(`{"a":1}{"b":2} {"c":{"d":[]}}`, `{"a":1}|{"b":2}|{"c":{"d":[]}}`)
	f(`{"a":"}"}{"b":"\"}"}`, `{"a":"}"}|{"b":"\"}"}`)
	f("[]", "")
	f("[{},{}]", "{}|{}")
	f("[\n {\"a\":1} ,\r\n {}\n]\n{}\n[{}]", `{"a":1}|{}|{}|{}`)
	f("{}\n{]\n{}", "{}|!not a JSON object {]|{}")
	f("{\"a\":\"x\n{}\n", "!not a JSON object {\"a\":\"x|{}")
	f("{\"a\":\"x\\\n{}\n", "!not a JSON object {\"a\":\"x\\|{}")
	f("{}\nhello there\n{}", "{}|!not a JSON object hello there|{}")
	f("[1,{}]", "!not a JSON object 1|{}")
	f("[[],{}]", "!not a JSON object []|{}")
	f("[{}{}]", "{}|!the array at the top has no comma before this")
	f("[{},]{}", "{}|!not a JSON object ]|{}")
	f("[,{}]", "!not a JSON object ,|{}")
	f("[{},,{}]", "{}|!not a JSON object ,|{}")
	f("[{}", "{}|!unexpected end of input ")
	f("[", "!unexpected end of input ")
	f("{}]", "{}|!not a JSON object ]")
	f(`{"a":`, `!not a JSON object {"a":`)
	f(`{"a":"1234567890", "b":[12345678901]}{}`, `!JSON value is larger than limits.max_event_bytes (25B) {"a":"1234567890", "b":[1|{}`)
	f("[{\"a\":\"12345678901234567890\\\"]\"}\n,{}]", `!JSON value is larger than limits.max_event_bytes (25B) {"a":"1234567890123456789|{}`)
	f("\xef\xbb\xbf{}", "{}")
}
