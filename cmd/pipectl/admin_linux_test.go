package main

import (
	"fmt"
	"io"
	"regexp"
	"testing"
)

// Where the live page is stands on a line of its own above the picture, and stays.
func TestLivePageOnATerminal(t *testing.T) {
	written := onTerminal(t, fmt.Sprintf(brief, "discard"), true, nil, "--log-level", "error", "--admin", "127.0.0.1:0")
	s := screen{width: 100}
	io.WriteString(&s, written)
	if got := s.String(); !regexp.MustCompile(`^live page: http://127\.0\.0\.1:[0-9]+/\nSOURCE `).MatchString(got) {
		t.Errorf("the screen at the end:\n%s", got)
	}
}
