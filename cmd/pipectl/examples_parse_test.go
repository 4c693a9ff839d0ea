package main

import (
	"strings"
	"testing"
)

func showsNginx(t *testing.T, r ran) {
	got := r.records(t, "requests.ndjson")
	must(t, len(got) == 3, "a line that is none is not among them", got)
	must(t, got[0]["time_local"] == "2024-03-12T09:14:02+01:00" && got[0]["request_time"] == 0.184, "times and numbers", got[0])
	url, _ := got[2]["url"].(map[string]any)
	query, _ := url["query"].(map[string]any)
	items, _ := query["item"].([]any)
	must(t, len(items) == 2 && items[1] == "57", "a parameter that occurs twice is a list", got[2])
	client, _ := got[1]["client"].(map[string]any)
	must(t, client["name"] == "Googlebot" && client["bot"] == true, "who asked", got[1])
	must(t, len(r.records(t, "bad.ndjson")) == 1, "the line that is none is kept", r.Balance)
}

func showsMultiline(t *testing.T, r ran) {
	got := r.records(t, "entries.ndjson")
	must(t, len(got) == 3 && r.Balance.Read == 9, "nine lines are three events", got, r.Balance)
	trace, _ := got[1]["trace"].(string)
	must(t, got[1]["exception"] == "java.lang.IllegalStateException" && strings.HasSuffix(trace, "... 2 more"), "the trace is whole", got[1])
	must(t, got[1]["time"] == "2024-03-12T08:14:02.54Z" && got[2]["text"] == "kept for later", "times and texts", got)
}

func showsGrok(t *testing.T, r ran) {
	got := r.records(t, "events.ndjson")
	must(t, len(got) == 3, "three kinds of lines", got)
	order, _ := got[0]["order"].(map[string]any)
	must(t, order["id"] == "KX-0042" && order["price"] == 120.5 && got[0]["time"] == 1710234842.0, "typed fields in objects", got[0])
	must(t, got[2]["pid"] == 811.0 && got[2]["text"] == "job done", "a third pattern", got[2])
	must(t, len(r.records(t, "bad.ndjson")) == 1, "what no pattern matches is kept", r.Balance)
}

func showsConvert(t *testing.T, r ran) {
	got := r.records(t, "jobs.ndjson")
	must(t, len(got) == 2 && got[0]["took"] == 90500.0 && got[0]["memory"] == 67108864.0 && got[0]["begun"] == "2024-07-01T00:00:00Z", "numbers and times", got)
	_, retries := got[0]["retries"]
	must(t, got[0]["ok"] == true && !retries && got[1]["retries"] == 3.0, "booleans and nulls", got)
	bad := r.records(t, "bad.ndjson")
	must(t, len(bad) == 1, "what is no duration is kept", bad)
}

func showsEncodeDecode(t *testing.T, r ran) {
	got := r.records(t, "decoded.ndjson")
	must(t, len(got) == 1, "one line had a document", got)
	log, _ := got[0]["log"].(map[string]any)
	must(t, log["token"] == "guest" && got[0]["unpacked"] == log["text"], "read and written back", got[0])
	must(t, len(r.records(t, "bad.ndjson")) == 1, "the other is kept", r.Balance)
}
