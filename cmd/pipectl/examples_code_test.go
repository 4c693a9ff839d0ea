package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

func showsExec(t *testing.T, r ran) {
	must(t, r.Balance.Read == 1000 && r.Balance.Delivered == 500 && r.Balance.Filtered == 500, "half the numbers are even", r.Balance)
	stored := readFile(t, filepath.Join(r.out, "even.ndjson"))
	must(t, bytes.Count(stored, []byte("\n")) == 500 && bytes.HasPrefix(stored, []byte("{\"n\":2}\n{\"n\":4}\n")), "the even numbers in order", len(stored))
}

func showsWasm(t *testing.T, r ran) {
	must(t, r.Balance.Read == 10000 && r.Balance.Filtered == 2500 && r.Balance.Delivered == 7500, "a quarter are heartbeats", r.Balance)
	must(t, !bytes.Contains(readFile(t, filepath.Join(r.out, "readings.ndjson")), []byte("heartbeat")), "no heartbeat is left")
}

func showsChaos(t *testing.T, r ran) {
	b := r.Balance
	must(t, b.Read == 2000 && b.Delivered+b.DeadLettered == 2000, "every event is delivered or a dead letter", b)
	must(t, b.DeadLettered > 10 && b.DeadLettered < 600, "few are dead letters", b)
	letters := readFile(t, filepath.Join(r.out, "failed.ndjson"))
	for _, reason := range []string{"chosen to fail", "panic", "timeout"} {
		must(t, bytes.Contains(letters, []byte(reason)), "dead letters say why", reason)
	}
}
