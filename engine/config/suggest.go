package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// didYouMean returns a hint for a word that is none of valid: the nearest one,
// or the list of all when none is near. what names the list: "valid keys".
func didYouMean(word string, valid []string, what string) string {
	if s := nearest(word, valid); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	return listOf(what, valid)
}

// listOf renders "valid keys: a, b, c", cut where it gets long.
func listOf(what string, words []string) string {
	const most = 16
	if len(words) == 0 {
		return ""
	}
	words = slices.Clone(words)
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) > most {
		words = append(words[:most:most], "…")
	}
	return what + ": " + strings.Join(words, ", ")
}

// nearest returns the word of valid that was probably meant, or "".
func nearest(word string, valid []string) string {
	word = plainWord(word)
	if word == "" || len(word) > 100 {
		return ""
	}
	best, bestDistance := "", 1+min(3, (len(word)+1)/3)
	for _, v := range valid {
		d := distance(word, plainWord(v))
		if d < bestDistance || d == bestDistance && best != "" && v < best {
			best, bestDistance = v, d
		}
	}
	return best
}

// plainWord removes what people get wrong without noticing: case and separators.
func plainWord(s string) string {
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
