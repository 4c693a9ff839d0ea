package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
)

// board is what the tests read of a dashboard, decoded strictly where it matters.
type board struct {
	UID           string
	Title         string
	SchemaVersion int
	Panels        []struct {
		ID          int
		Type        string
		Title       string
		Description string
		GridPos     struct{ H, W, X, Y int }
		Datasource  *struct{ Type, UID string }
		Targets     []struct {
			RefID      string
			Expr       string
			Datasource struct{ Type, UID string }
		}
		Panels []any
	}
	Templating struct {
		List []struct {
			Name       string
			Type       string
			Query      any
			Definition string
		}
	}
	Annotations struct{ List []struct{ Expr string } }
}

func draw(t *testing.T, p *config.Pipeline) board {
	t.Helper()
	text, err := Grafana(p)
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDashboard holds the dashboard against what Grafana demands of one.
func TestDashboard(t *testing.T) {
	b := draw(t, parse(t, shop))
	if b.Title != "pipectl: shop.eu-1" || b.SchemaVersion < 36 || len(b.UID) < 8 || len(b.UID) > 40 {
		t.Errorf("title %q, schema %d, uid %q", b.Title, b.SchemaVersion, b.UID)
	}
	known := []string{"row", "timeseries", "stat", "table", "state-timeline"}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	var rows []string
	for _, p := range b.Panels {
		if ids[p.ID] || p.ID < 1 {
			t.Errorf("panel %q: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if !slices.Contains(known, p.Type) {
			t.Errorf("panel %q has the type %s", p.Title, p.Type)
		}
		g := p.GridPos
		if g.H < 1 || g.W < 1 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q does not fit into the grid: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Errorf("panel %q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			if p.Panels == nil || len(p.Targets) > 0 {
				t.Errorf("row %q has targets or no list of panels", p.Title)
			}
			continue
		}
		if len(p.Targets) == 0 || p.Description == "" || p.Datasource == nil || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q lacks a query, a description or the chosen data source", p.Title)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.Datasource.UID != "${datasource}" || q.Datasource.Type != "prometheus" {
				t.Errorf("panel %q: target %s is there twice or asks another data source", p.Title, q.RefID)
			}
			refs[q.RefID] = true
		}
	}
	if want := []string{"Overview", "Edges", "Nodes", "Sources", "Sinks"}; !slices.Equal(rows, want) {
		t.Errorf("got the rows %v, want %v", rows, want)
	}
	if v := b.Templating.List; len(v) != 4 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("variables: %+v", v)
	}
	if strings.Contains(b.Templating.List[1].Definition, "$instance") {
		t.Errorf("the choice of instances depends on itself: %s", b.Templating.List[1].Definition)
	}
}

// queriesOf returns every query of a dashboard as Grafana would send it.
func queriesOf(b board) (all []string) {
	values := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$edge", "till->keep|late", "$node", ".*")
	for _, p := range b.Panels {
		for _, q := range p.Targets {
			all = append(all, values.Replace(q.Expr))
		}
	}
	for _, v := range b.Templating.List[1:] {
		metric, _, _ := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ", ")
		all = append(all, values.Replace(metric))
	}
	for _, a := range b.Annotations.List {
		all = append(all, values.Replace(a.Expr))
	}
	return all
}

// TestQueriesParse has promtool read every query of the dashboard, as the
// expression of a rule.
func TestQueriesParse(t *testing.T) {
	var groups bytes.Buffer
	groups.WriteString("groups:\n  - name: queries\n    rules:\n")
	all := queriesOf(draw(t, parse(t, shop)))
	for i, q := range all {
		if strings.ContainsAny(q, "$") || strings.Contains(q, "ALL") || strings.Contains(q, "NODE") || strings.Contains(q, "EDGE") {
			t.Errorf("something was not filled in: %s", q)
		}
		fmt.Fprintf(&groups, "      - {record: 'query:%d', expr: %s}\n", i, quote(q))
	}
	if len(all) < 40 {
		t.Errorf("only %d queries were found", len(all))
	}
	promtool(t, map[string][]byte{"queries.yml": groups.Bytes()}, "check", "rules", "queries.yml")
}

var (
	metricName = regexp.MustCompile(`\bpipectl_[a-z_]+`)
	documented = regexp.MustCompile("(?m)^\\| `(pipectl_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")
	ofSeries   = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestMetricsExist demands that rules and dashboard ask only for metrics, and
// group and choose only by labels, that docs/metrics.md has; the page itself is
// held against what is emitted.
func TestMetricsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, m := range documented.FindAllStringSubmatch(string(page), -1) {
		labels[m[1]] = m[3]
		if m[2] == "histogram" {
			labels[m[1]] += "`le`"
		}
	}
	asked := queriesOf(draw(t, parse(t, shop)))
	for _, a := range alerts(parse(t, shop), DefaultThresholds()) {
		asked = append(asked, a.expr)
	}
	used := map[string]bool{}
	for _, q := range asked {
		for _, name := range metricName.FindAllString(q, -1) {
			if _, ok := labels[name]; !ok {
				name = ofSeries.ReplaceAllString(name, "")
			}
			used[name] = true
			have, ok := labels[name]
			if !ok {
				t.Errorf("%s is not documented, but asked for: %s", name, q)
			}
			for _, label := range labelsIn(q) {
				if label != "pipeline" && label != "instance" && !strings.Contains(have, "`"+label+"`") && !strings.Contains(q, "group_left") {
					t.Errorf("%s has no label %s: %s", name, label, q)
				}
			}
		}
	}
	for name := range labels {
		if !used[name] && !slices.Contains(seldom, name) {
			t.Errorf("%s is shown nowhere", name)
		}
	}
}

// seldom are metrics for questions of one's own, not for the dashboard.
var seldom = []string{"pipectl_edge_queue_bytes", "pipectl_edge_capacity_bytes", "pipectl_edge_offered_events_total", "pipectl_edge_admitted_events_total",
	"pipectl_edge_blocked_producers", "pipectl_edge_tripped", "pipectl_node_left_behind_calls", "pipectl_node_left_behind_calls_total"}

var (
	grouped = regexp.MustCompile(`(?:by|on|ignoring) \(([a-z, ]+)\)`)
	matched = regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`)
)

// labelsIn returns the labels that a query groups by or selects.
func labelsIn(q string) (all []string) {
	for _, m := range grouped.FindAllStringSubmatch(q, -1) {
		all = append(all, strings.Split(m[1], ", ")...)
	}
	if strings.Count(q, "{") == 1 { // with more selectors it is not clear whose label it is
		for _, m := range matched.FindAllStringSubmatch(q, -1) {
			all = append(all, m[1])
		}
	}
	return all
}

func TestUID(t *testing.T) {
	long := strings.Repeat("very-", 20)
	f := func(a, b string) {
		t.Helper()
		x, y := uid(a), uid(b)
		if x == y || x != uid(a) {
			t.Errorf("%s and %s: %s and %s", a, b, x, y)
		}
		for _, id := range []string{x, y} {
			if !regexp.MustCompile(`^[a-zA-Z0-9_-]{8,40}$`).MatchString(id) {
				t.Errorf("%q is no id", id)
			}
		}
	}
	f("a", "b")
	f("a.b", "a_b")
	f(long+"1", long+"2")
	f(long[:32], long[:33])
}
