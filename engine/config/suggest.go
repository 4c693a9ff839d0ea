package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/near"
)

// didYouMean returns a hint for a word that is none of valid: the nearest one,
// or the list of all when none is near. what names the list: "valid keys".
func didYouMean(word string, valid []string, what string) string {
	if s := near.Word(word, valid); s != "" {
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
