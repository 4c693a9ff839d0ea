package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// writeAnnotations writes the verdicts as workflow commands, which GitHub Actions
// shows beside the lines of a change.
func writeAnnotations(w io.Writer, verdicts []verdict) error {
	var b strings.Builder
	for _, v := range verdicts {
		for _, d := range v.Diagnostics {
			place := "file=" + annotationValue.Replace(d.File)
			if d.Line > 0 {
				place += fmt.Sprintf(",line=%d,col=%d", d.Line, d.Col)
			}
			fmt.Fprintf(&b, "::%s %s,title=pipectl %s::%s\n", d.Severity, place, d.Code, annotationText.Replace(withHint(d)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// What a workflow command must not hold as it is.
var (
	annotationText  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	annotationValue = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func withHint(d config.Diagnostic) string {
	if d.Hint == "" {
		return d.Message
	}
	return d.Message + " (" + d.Hint + ")"
}

// The parts of SARIF 2.1.0 that are needed for results with places.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Columns string        `json:"columnKind"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     config.Severity `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
)

// encodeSARIF writes the verdicts as a SARIF 2.1.0 log, for code scanning.
func encodeSARIF(w io.Writer, verdicts []verdict) error {
	run := sarifRun{Columns: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "pipectl", Rules: []sarifRule{}}
	known := map[string]bool{}
	for _, v := range verdicts {
		for _, d := range v.Diagnostics {
			if !known[d.Code] {
				known[d.Code] = true
				run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{d.Code})
			}
			place := sarifPhysical{Artifact: sarifArtifact{strings.ReplaceAll(d.File, "\\", "/")}}
			if d.Line > 0 {
				place.Region = &sarifRegion{d.Line, d.Col}
			}
			run.Results = append(run.Results, sarifResult{d.Code, d.Severity, sarifText{withHint(d)}, []sarifLocation{{place}}})
		}
	}
	return encodeJSON(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// The parts of a JUnit report: each pipeline is a test case.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
		Output  string        `xml:"system-out,omitempty"` // warnings of a valid one
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// encodeJUnit writes the verdicts as a JUnit report, for build servers.
func encodeJUnit(w io.Writer, verdicts []verdict) error {
	suite := junitSuite{Name: "pipectl validate", Tests: len(verdicts)}
	for _, v := range verdicts {
		c := junitCase{Name: v.File, Class: "pipectl.validate"}
		var text strings.Builder
		if err := v.Diagnostics.WriteText(&text); err != nil {
			return err
		}
		if v.OK {
			c.Output = text.String()
		} else {
			suite.Failures++
			c.Failure = &junitFailure{tally(v.Diagnostics), text.String()}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
