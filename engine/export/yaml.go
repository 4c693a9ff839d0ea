package export

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ask is the advice at the end of every description. The instance that Prometheus
// scrapes is the address of the admin endpoint.
const ask = " Ask the pipeline: pipectl why{{ with $labels.instance }} --addr {{ . }}{{ end }}"

// write writes the rule as an item of a YAML list.
func (a alert) write(w *strings.Builder, pipeline, runbook string) {
	fmt.Fprintf(w, "      - alert: %s\n        expr: |-\n", a.name)
	for line := range strings.Lines(a.expr) {
		fmt.Fprintf(w, "          %s\n", strings.TrimSuffix(line, "\n"))
	}
	if a.hold > 0 {
		fmt.Fprintf(w, "        for: %s\n", promDuration(a.hold))
	}
	fmt.Fprintf(w, "        labels:\n          severity: %s\n", a.severity)
	fmt.Fprintf(w, "        annotations:\n          summary: %s\n", quote(pipeline+": "+a.summary))
	fmt.Fprintf(w, "          description: %s\n", quote(a.describe+ask))
	fmt.Fprintf(w, "          runbook_url: %s\n", quote(runbook+"#"+strings.ToLower(a.name)))
}

// quote writes a string as JSON does, which YAML reads the same.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("BUG: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// promDuration writes a duration as Prometheus reads it: 5m, 1h30m, 1s500ms.
func promDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.d
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
