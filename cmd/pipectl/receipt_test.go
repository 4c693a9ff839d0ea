package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine"
)

// stoppedReceipt is a run in which everything happened that a receipt tells.
func stoppedReceipt() engine.Receipt {
	return engine.Receipt{ExitCode: engine.ExitStopped, Status: engine.Status{
		Pipeline: "access-logs", Outcome: engine.Stopped, Generation: 1, Seconds: 83.4,
		Sources: map[string]engine.SourceStatus{
			"access": {Read: 10_000, Acked: 9_990, Returned: 10, Failed: 3},
			"web":    {Read: 500, Acked: 480, Nacked: 13, Lost: 7, Rejected: map[string]int64{"413": 1, "503": 12}},
		},
		Stages: map[string]engine.StageStatus{"keep": {In: 10_000, Out: 120, Filtered: 9_870, Unrouted: 2, Failed: 10, Panics: 1}},
		Edges: map[string]engine.EdgeStatus{
			"access->keep": {Offered: 10_000, Admitted: 10_000, Delivered: 9_990, Capacity: 1024, Peak: 1024, Returned: 10,
				Policy: "block", BlockedSeconds: 61.2},
			"keep->out": {Offered: 120, Admitted: 120, Delivered: 100, Capacity: 64, Peak: 64, Policy: "drop-oldest",
				Dropped: map[string]int64{"oldest": 19, "expired": 1}},
		},
		Sinks: map[string]engine.SinkStatus{"out": {In: 100, Delivered: 96, Failed: 4, Retries: 2, Failing: true}},
		Balance: engine.Balance{Read: 10_500, Delivered: 96, DeadLettered: 13, Filtered: 10_350, Dropped: 20, Failed: 4,
			Returned: 17},
		SourceNames: []string{"access", "web"}, StageNames: []string{"keep"},
		EdgeNames: []string{"access->keep", "keep->out"}, SinkNames: []string{"out"},
	}}
}

func TestReceiptTable(t *testing.T) {
	var b strings.Builder
	writeReceipt(&b, stoppedReceipt())
	golden(t, filepath.Join("testdata", "receipt.golden"), b.String())
}

// The table of a large pipeline is short, and what stands out is in it.
func TestReceiptTableIsShort(t *testing.T) {
	r := engine.Receipt{Status: engine.Status{Edges: map[string]engine.EdgeStatus{}}}
	for i := range 1000 {
		id := fmt.Sprintf("a->b%d", i)
		e := engine.EdgeStatus{Policy: "block"}
		if i == 777 {
			e.Dropped = map[string]int64{"newest": 5}
		}
		r.Edges[id], r.EdgeNames = e, append(r.EdgeNames, id)
	}
	var b strings.Builder
	writeReceipt(&b, r)
	got := b.String()
	if n := strings.Count(got, "\n"); n > maxReceiptRows+10 {
		t.Errorf("%d lines", n)
	}
	for _, want := range []string{"\na->b777 ", "\na->b0 ", "… and 960 more; --receipt FILE has them all"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

func TestReceiptSaysWhenTheBooksAreWrong(t *testing.T) {
	var b strings.Builder
	writeReceipt(&b, engine.Receipt{Status: engine.Status{Balance: engine.Balance{Read: 10, Delivered: 9, Error: 1}}})
	if !strings.Contains(b.String(), "BUG: 1 event unaccounted for") {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestSaveReceipt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "receipt.json")
	link := filepath.Join(dir, "link.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("receipt.json", link); err != nil {
		t.Fatal(err)
	}
	if err := saveReceipt(link, io.Discard, stoppedReceipt()); err != nil {
		t.Fatal(err)
	}
	var r engine.Receipt
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil || r.ExitCode != 3 || r.Edges["keep->out"].Dropped["oldest"] != 19 {
		t.Errorf("read back %+v, %v", r, err)
	}
	if !bytes.Contains(data, []byte(`"keep->out": {`)) {
		t.Errorf("edge ids are not written plainly:\n%s", data)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want that of the old file", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("files left: %v", left)
	}
}

// Devices and pipes are written to, never replaced by a file.
func TestReceiptLeavesDevicesAlone(t *testing.T) {
	link := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	if err := saveReceipt(link, io.Discard, stoppedReceipt()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Fatalf("%s is no device any more: %v, %v", os.DevNull, info, err)
	}
}

// A receipt that cannot be written leaves the old one and no other file.
func TestReceiptIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "receipt.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := fmt.Errorf("disk is full")
	err := replaceFile(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	data, _ := os.ReadFile(path)
	left, _ := os.ReadDir(dir)
	if err == nil || string(data) != "old" || len(left) != 1 {
		t.Errorf("error %v, content %q, files %v", err, data, left)
	}
}
