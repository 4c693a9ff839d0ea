// Package near finds what somebody who mistyped a word probably meant.
package near

import (
	"strings"
	"unicode"
)

// Word returns the word of valid that was probably meant by word, "" when none is
// near: about one mistake for three letters, three at most. Case and the
// separators _ - and space make no difference.
func Word(word string, valid []string) string {
	word = Plain(word)
	if word == "" || len(word) > 100 {
		return ""
	}
	best, bestDistance := "", 1+min(3, (len(word)+1)/3)
	for _, v := range valid {
		d := distance(word, Plain(v))
		if d < bestDistance || d == bestDistance && best != "" && v < best {
			best, bestDistance = v, d
		}
	}
	return best
}

// Plain removes what people get wrong without noticing: case and the separators
// _ - and space.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// distance counts insertions, deletions, replacements and swaps of neighbours
// (the Damerau-Levenshtein distance, optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(y)]
}
