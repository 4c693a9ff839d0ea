package dlq

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSanitise(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		redact := func(s string) string { return strings.ReplaceAll(s, "s3cret", "***") }
		if got := Sanitise(text, redact); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("no route to host", "no route to host")
	f("the password is s3cret", "the password is ***")
	f("dial amqp://guest:gu3st@mq.example:5672/v: refused", "dial amqp://***@mq.example:5672/v: refused")
	f(`Post "https://u:p@ss@api.example/x": EOF`, `Post "https://***@api.example/x": EOF`)
	f("https://token-only@api.example/x", "https://***@api.example/x")
	f("GET https://api.example/x?page=2&api_key=abc123&q=a: 403", "GET https://api.example/x?page=2&api_key=***&q=a: 403")
	f("?X-Amz-Signature=abc&access_token=def", "?X-Amz-Signature=***&access_token=***")
	f("connect root:toor@tcp(db:3306)/x", "connect ***@tcp(db:3306)/x")
	f("connect to root:toor@db.example:3306", "connect to ***@db.example:3306")
	f(`host=db user=me password='my pass' sslmode=off`, `host=db user=me password=*** sslmode=off`)
	f("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***")
	f(`{"authorization":"Bearer abc"}`, `{"authorization":"Bearer ***"}`)
	f("used bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "used bearer ***")

	// What only looks like it stays: an error that says nothing helps nobody.
	f("at 12:30 mail to me@example.com", "at 12:30 mail to me@example.com")
	f("unexpected token: x", "unexpected token: x")
	f("bearer authentication is required", "bearer authentication is required")
	f("https://api.example/users/@me: 404", "https://api.example/users/@me: 404")
	f("cents / 100: cannot divide text, key=seq", "cents / 100: cannot divide text, key=seq")
}

func TestSanitiseBounds(t *testing.T) {
	long := Sanitise(strings.Repeat("é", 1<<20), nil)
	if len(long) > maxError+len("…") || !utf8.ValidString(long) || !strings.HasSuffix(long, "é…") {
		t.Errorf("%d bytes, ending with %q", len(long), long[len(long)-8:])
	}
	if short := strings.Repeat("x", maxError); Sanitise(short, nil) != short {
		t.Error("4 KiB are cut")
	}
}
