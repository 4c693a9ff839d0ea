package explain_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	example = regexp.MustCompile("(?ms)^```yaml\n(version:.*?)^```$\n\n^```text\n(.*?)\n^```$")
	number  = regexp.MustCompile(`>?[0-9][0-9,.]*`)
)

// TestDocs runs the examples of docs/pressure.md and holds what is printed there
// against what is said: the same words, and numbers within a tenth.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/pressure.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := example.FindAllStringSubmatch(string(page), -1)
	if len(examples) != 4 {
		t.Fatalf("found %d examples, want 4", len(examples))
	}
	for _, m := range examples {
		yaml := strings.Replace(m[1], "version: 1\n", "", 1)
		yaml = regexp.MustCompile("(?m)^name:.*$").ReplaceAllString(yaml, "")
		got := strings.Join(watch(t, yaml, 20).Sentences, "\n")
		if number.ReplaceAllString(got, "N") != number.ReplaceAllString(m[2], "N") || !alike(numbers(got), numbers(m[2])) {
			t.Errorf("the page says\n%s\nbut it is\n%s", m[2], got)
		}
	}
}

func numbers(text string) (list []float64) {
	for _, s := range number.FindAllString(text, -1) {
		f, err := strconv.ParseFloat(strings.Trim(strings.ReplaceAll(s, ",", ""), ">."), 64)
		if err != nil {
			panic(err)
		}
		list = append(list, f)
	}
	return list
}

func alike(a, b []float64) bool {
	for i := range a {
		if math.Abs(a[i]-b[i]) > .1*b[i] {
			return false
		}
	}
	return true
}
