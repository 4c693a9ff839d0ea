package export

import "strings"

// panel is a panel, or with type row the title of those that follow.
type panel struct {
	ID              int          `json:"id"`
	Type            string       `json:"type"`
	Title           string       `json:"title"`
	Description     string       `json:"description,omitempty"`
	GridPos         grid         `json:"gridPos"`
	Datasource      *source      `json:"datasource,omitempty"`
	Targets         []target     `json:"targets,omitempty"`
	FieldConfig     *fieldConfig `json:"fieldConfig,omitempty"`
	Options         any          `json:"options,omitempty"`
	Transformations []object     `json:"transformations,omitempty"`
	Collapsed       *bool        `json:"collapsed,omitempty"`
	Panels          *[]panel     `json:"panels,omitempty"`
}

type grid struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// target is a query of a panel.
type target struct {
	RefID        string `json:"refId"`
	Datasource   source `json:"datasource"`
	EditorMode   string `json:"editorMode"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Range        bool   `json:"range"`
	Instant      bool   `json:"instant"`
	Format       string `json:"format,omitempty"`
}

type fieldConfig struct {
	Defaults  fields   `json:"defaults"`
	Overrides []object `json:"overrides"`
}

type fields struct {
	Unit       string   `json:"unit"`
	Min        *float64 `json:"min,omitempty"`
	Max        *float64 `json:"max,omitempty"`
	Decimals   *int     `json:"decimals,omitempty"`
	NoValue    string   `json:"noValue,omitempty"`
	Color      object   `json:"color"`
	Thresholds object   `json:"thresholds"`
	Mappings   []object `json:"mappings"`
	Custom     object   `json:"custom"`
}

type object map[string]any

// panels lays the views out: a title for every section, and its views from left
// to right, beginning a new line when they do not fit.
func panels(q *strings.Replacer) []panel {
	var all []panel
	y, open := 0, false
	for _, s := range sections {
		all = append(all, panel{ID: len(all) + 1, Type: "row", Title: s.title, GridPos: grid{rowHeight, columns, 0, y}, Collapsed: &open, Panels: &[]panel{}})
		y += rowHeight
		x, height := 0, 0
		for _, v := range s.views {
			if x+v.width > columns {
				x, y, height = 0, y+height, 0
			}
			p := v.panel(q)
			p.ID, p.GridPos = len(all)+1, grid{v.height(), v.width, x, y}
			all = append(all, p)
			x, height = x+v.width, max(height, v.height())
		}
		y += height
	}
	return all
}

func (v view) height() int {
	if v.kind == "stat" {
		return 4
	}
	return 8
}

func (v view) panel(q *strings.Replacer) panel {
	p := panel{Type: v.kind, Title: v.title, Description: v.help, Datasource: &prometheus, Options: options[v.kind], Transformations: transformations[v.kind]}
	for i, line := range v.queries {
		t := target{RefID: string(rune('A' + i)), Datasource: prometheus, EditorMode: "code", Expr: q.Replace(line.expr), LegendFormat: line.legend, Range: true}
		if v.kind == "table" {
			t.Range, t.Instant, t.Format = false, true, "table"
		}
		p.Targets = append(p.Targets, t)
	}
	f := fields{Unit: v.unit, NoValue: v.empty, Color: object{"mode": "palette-classic"}, Mappings: []object{}, Custom: custom[v.kind]}
	if v.kind == "stat" || v.kind == "state-timeline" {
		f.Color = object{"mode": "thresholds"}
	}
	if zero := 0.0; v.kind == "timeseries" {
		f.Min = &zero
	}
	f.Thresholds = thresholds(v.red)
	if v.says != nil {
		f.Mappings = append(f.Mappings, object{"type": "value", "options": v.says})
	}
	if v.red > 0 && v.kind == "timeseries" {
		f.Custom = withLine(f.Custom)
	}
	p.FieldConfig = &fieldConfig{Defaults: f, Overrides: []object{}}
	return p
}

// thresholds colours values from red on; 0 means that nothing is bad.
func thresholds(red float64) object {
	steps := []object{{"color": "green", "value": nil}}
	if red > 0 {
		steps = append(steps, object{"color": "red", "value": red})
	}
	return object{"mode": "absolute", "steps": steps}
}

// custom is what the plugins want to know about fields.
var custom = map[string]object{
	"timeseries": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
		"stacking": object{"mode": "none", "group": "A"}},
	"state-timeline": {"fillOpacity": 80, "lineWidth": 0},
	"table":          {"align": "auto", "filterable": true},
	"stat":           {},
}

// withLine draws the threshold as a line.
func withLine(base object) object {
	c := object{"thresholdsStyle": object{"mode": "dashed"}}
	for k, v := range base {
		c[k] = v
	}
	return c
}

// options is what the plugins want to know about the whole panel.
var options = map[string]object{
	"timeseries": {"legend": object{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull", "max"}},
		"tooltip": object{"mode": "multi", "sort": "desc"}},
	"stat": {"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}},
	"state-timeline": {"showValue": "never", "mergeValues": true, "alignValue": "left", "rowHeight": 0.8,
		"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false}, "tooltip": object{"mode": "single", "sort": "none"}},
	"table": {"showHeader": true, "cellHeight": "sm", "footer": object{"show": false, "reducer": []string{"sum"}, "countRows": false, "fields": ""}},
}

// transformations make one table of the queries of a table.
var transformations = map[string][]object{
	"table": {
		{"id": "merge", "options": object{}},
		{"id": "organize", "options": object{"excludeByName": object{"Time": true}, "indexByName": object{},
			"renameByName": object{"edge": "Edge", "policy": "Policy", "Value #A": "Capacity", "Value #B": "Dropped", "Value #C": "Generation"}}},
	},
}
