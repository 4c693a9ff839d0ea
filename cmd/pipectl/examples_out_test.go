package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

func showsParquet(t *testing.T, r ran) {
	type row struct {
		Order int64   `parquet:"order,optional"`
		Item  string  `parquet:"item,optional"`
		Price float64 `parquet:"price,optional"`
		Gift  bool    `parquet:"gift,optional"`
	}
	files, err := filepath.Glob(filepath.Join(r.out, "lake", "item=lamp", "*.parquet"))
	must(t, err == nil && len(files) == 1, "the lamps have a file", files, err)
	rows, err := parquet.ReadFile[row](files[0])
	must(t, err == nil && len(rows) == 2 && rows[0] == row{1001, "lamp", 39.9, false} && rows[1] == row{1005, "lamp", 39.9, true}, "columns have types", rows, err)
	must(t, r.Balance.Delivered == 5 && r.Balance.DeadLettered == 0, "all rows fit", r.Balance)
}

// pageAt gets a page of an example; "" when that fails.
func pageAt(url string) string {
	answer, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return string(text)
}

func drivesMetrics(t *testing.T, r *rig) {
	p := r.start(t)
	url := "http://" + p.listening() + "/metrics"
	var text string
	until(t, "the requests are counted", func() bool {
		text = pageAt(url)
		return strings.Contains(text, `http_requests_total{method="GET",status="200"} `) && strings.Contains(text, `http_response_bytes_bucket{le="+Inf"} `)
	})
	result := p.drained(r)
	must(t, result.Sinks["metrics"].Delivered == 39 && result.Sinks["bad"].Delivered == 1, "requests are counted, and what is none is kept", result.Sinks)
}

func drivesLiveView(t *testing.T, r *rig) {
	p := r.start(t)
	answer, err := http.Get("http://" + p.listening() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in, seen := bufio.NewScanner(answer.Body), 0
	for seen < 20 && in.Scan() {
		if strings.HasPrefix(in.Text(), `data: {"id":`) {
			seen++
		}
	}
	must(t, seen == 20, "a viewer sees events", seen, in.Err())
	answer.Body.Close()
	time.Sleep(50 * time.Millisecond) // some events more, with nobody there
	result := p.drained(r)
	must(t, result.Sinks["view"].Delivered == result.Sinks["file"].Delivered && result.Sinks["file"].Delivered > 20, "with viewers and without, all goes on", result.Sinks)
}

func drivesInbox(t *testing.T, r *rig) {
	inbox := filepath.Join(r.out, "inbox")
	if err := os.Mkdir(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	p := r.start(t)
	orders := readFile(t, filepath.Join(exampleDir, "data", "orders.csv"))
	if err := os.WriteFile(filepath.Join(inbox, "orders.csv"), orders, 0o644); err != nil {
		t.Fatal(err)
	}
	until(t, "the file is put away", func() bool {
		_, err := os.Stat(filepath.Join(inbox, "done", "orders.csv"))
		return err == nil
	})
	_, err := os.Stat(filepath.Join(inbox, "orders.csv"))
	must(t, os.IsNotExist(err), "it is in the inbox no more", err)
	result := p.drained(r)
	got := result.records(t, "orders.ndjson")
	must(t, len(got) == 5 && got[1]["item"] == "chair, oak" && got[1]["price"] == 120.0, "its rows are delivered", got)
}

func drivesCron(t *testing.T, r *rig) {
	p := r.start(t)
	awaitLines(t, r, "ticks.ndjson", 1)
	result := p.drained(r)
	got := result.records(t, "ticks.ndjson")
	must(t, got[0]["job"] == "report" && got[0]["run"] == 0.0, "an event at its time", got)
}

func drivesSelf(t *testing.T, r *rig) {
	p := r.start(t)
	awaitLines(t, r, "changes.ndjson", 1)
	result := p.drained(r)
	changes := result.records(t, "changes.ndjson")
	must(t, changes[0]["change"] == "dropped" && changes[0]["edge"] == "load->slow" && changes[0]["events"].(float64) > 0, "what an edge drops is an event", changes)
	figures := result.records(t, "figures.ndjson")
	last := map[string]any{}
	for _, f := range figures {
		must(t, f["kind"] == "edge", "figures of edges", f)
		if f["name"] == "load->slow" {
			last = f
		}
	}
	must(t, last["capacity"] == 100.0 && last["dropped"].(map[string]any)["newest"].(float64) > 0, "with what the status says", last)
}
