package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// The grid of a dashboard is 24 columns wide.
const (
	columns   = 24
	rowHeight = 1
)

// source names a data source; the one of this dashboard is chosen in it.
type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

var prometheus = source{"prometheus", "${datasource}"}

// dashboard is a dashboard in Grafana's JSON.
type dashboard struct {
	UID           string            `json:"uid"`
	Title         string            `json:"title"`
	Description   string            `json:"description"`
	Tags          []string          `json:"tags"`
	Timezone      string            `json:"timezone"`
	Editable      bool              `json:"editable"`
	GraphTooltip  int               `json:"graphTooltip"` // 1: one crosshair over all panels
	Time          map[string]string `json:"time"`
	Refresh       string            `json:"refresh"`
	SchemaVersion int               `json:"schemaVersion"`
	Version       int               `json:"version"`
	Links         []any             `json:"links"`
	Annotations   list[annotation]  `json:"annotations"`
	Templating    list[variable]    `json:"templating"`
	Panels        []panel           `json:"panels"`
}

type list[T any] struct {
	List []T `json:"list"`
}

// variable is a choice at the top of the dashboard.
type variable struct {
	Name       string  `json:"name"`
	Label      string  `json:"label"`
	Type       string  `json:"type"` // datasource or query
	Datasource *source `json:"datasource,omitempty"`
	Query      any     `json:"query"`
	Definition string  `json:"definition,omitempty"`
	Refresh    int     `json:"refresh"` // 1: when the dashboard loads, 2: when its time range changes
	Sort       int     `json:"sort"`    // 1: by the alphabet
	Multi      bool    `json:"multi"`
	IncludeAll bool    `json:"includeAll"`
	AllValue   string  `json:"allValue,omitempty"`
	Hide       int     `json:"hide"`
	Current    *choice `json:"current,omitempty"`
}

// choice is the value of a variable.
type choice struct {
	Selected bool   `json:"selected"`
	Text     string `json:"text"`
	Value    string `json:"value"`
}

// annotation marks moments in every panel.
type annotation struct {
	Name        string `json:"name"`
	Datasource  source `json:"datasource"`
	Enable      bool   `json:"enable"`
	IconColor   string `json:"iconColor"`
	Expr        string `json:"expr"`
	Step        string `json:"step"`
	TitleFormat string `json:"titleFormat"`
}

// Grafana returns a dashboard for the pipeline, in the JSON that Grafana 10 and
// later import. It shows what the metrics tell, so it stays right when edges and
// nodes come and go; only the pipeline's name is fixed.
func Grafana(p *config.Pipeline) ([]byte, error) {
	q := queries(p.Name)
	d := dashboard{
		UID: uid(p.Name), Title: "pipectl: " + p.Name, Description: p.Description, Tags: []string{"pipectl", "data pipeline"},
		Timezone: "browser", Editable: true, GraphTooltip: 1, Time: map[string]string{"from": "now-1h", "to": "now"}, Refresh: "10s",
		SchemaVersion: 39, Version: 1, Links: []any{},
		Templating: list[variable]{variables(q)},
		Annotations: list[annotation]{[]annotation{{Name: "Changes of the configuration", Datasource: prometheus, Enable: true, IconColor: "blue",
			Expr: q.Replace("changes(pipectl_config_generation{ALL}[1m]) > 0"), Step: "60s", TitleFormat: "the configuration changed"}}},
		Panels: panels(q),
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(d)
	return b.Bytes(), err
}

// queries fills in the selectors of a query: {PIPELINE}, {ALL} of its chosen
// instances, and of those {EDGE} and {NODE}, each possibly with more matchers
// behind it.
func queries(name string) *strings.Replacer {
	pipeline := `{pipeline=` + strconv.Quote(name)
	all := pipeline + `,instance=~"$instance"`
	return strings.NewReplacer("{PIPELINE", pipeline, "{ALL", all, "{EDGE", all+`,edge=~"$edge"`, "{NODE", all+`,node=~"$node"`)
}

func variables(q *strings.Replacer) []variable {
	data := variable{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Refresh: 1}
	choose := func(name, label, metric string) variable {
		text := fmt.Sprintf("label_values(%s, %s)", q.Replace(metric), name)
		return variable{Name: name, Label: label, Type: "query", Datasource: &prometheus, Definition: text,
			Query:   map[string]string{"query": text, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
			Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*", Current: &choice{true, "All", "$__all"}}
	}
	return []variable{data,
		choose("instance", "Instance", "pipectl_config_generation{PIPELINE}"),
		choose("edge", "Edge", "pipectl_edge_queue_events{ALL}"),
		choose("node", "Node", "pipectl_node_in_flight_events{ALL}")}
}

// uid returns an id of at most 40 characters that is the same every time, so that
// importing the dashboard again replaces it.
func uid(pipeline string) string {
	id := "pipectl-" + strings.ReplaceAll(pipeline, ".", "_")
	if len(id) > 40 || strings.Contains(pipeline, ".") {
		h := fnv.New32a()
		h.Write([]byte(pipeline))
		id = fmt.Sprintf("%.31s-%08x", id, h.Sum32())
	}
	return id
}
