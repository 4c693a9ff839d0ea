package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func showsDedupe(t *testing.T, r ran) {
	got := r.records(t, "once.ndjson")
	must(t, len(got) == 100 && r.Balance.Filtered == 900, "one event of each id goes on", len(got), r.Balance)
	for i, e := range got {
		must(t, e["id"] == float64(i) && e["n"] == float64(i), "it is the first", e)
	}
}

func showsSampleStage(t *testing.T, r ran) {
	users := map[any]int{}
	for _, e := range r.records(t, "sampled.ndjson") {
		users[e["user"]]++
	}
	for user, n := range users {
		must(t, n == 10, "all events of a user go on", user, n)
	}
	must(t, len(users) >= 5 && len(users) <= 40, "about a fifth of the users are kept", len(users))
}

func showsUnnest(t *testing.T, r ran) {
	got := r.records(t, "items.ndjson")
	must(t, len(got) == 300 && r.Balance.Read == 100 && r.Balance.Created == 200, "each item is an event", len(got), r.Balance)
	for i, e := range got {
		want := fmt.Sprint(map[string]any{"order": map[string]any{"id": i / 3}, "sku": string(rune('a' + i%3)), "pieces": []int{i / 3, 1, 2}[i%3], "line": i % 3})
		must(t, fmt.Sprint(e) == want, "it has the order's id and its own fields", e)
	}
}

func showsWindow(t *testing.T, r ran) {
	requests := 0.0
	got := r.records(t, "minutes.ndjson")
	for i, w := range got {
		requests += w["requests"].(float64)
		must(t, w["window_start"] == time.Unix(int64(i/2*60), 0).UTC().Format(time.RFC3339), "minutes come in order", w)
		must(t, w["slowest"] == 1.0 && w["p90"].(float64) > 0.85 && w["p90"].(float64) <= 1, "the figures are right", w)
		must(t, (w["partial"] == true) == (i >= 18), "the last minute is not over", w)
	}
	late := len(r.records(t, "late.ndjson"))
	must(t, len(got) == 20 && late > 0 && int(requests)+late == 600, "each request is in one minute, or late", len(got), requests, late)
	must(t, int(r.Balance.Merged) == int(requests)-20, "they are merged into the results", r.Balance)
}

func showsRedact(t *testing.T, r ran) {
	users := map[any]bool{}
	for _, e := range r.records(t, "redacted.ndjson") {
		users[e["user"]] = true
		must(t, e["text"] == "mail to ***, card ***, from ***", "texts are masked", e)
		must(t, len(e["user"].(string)) == 64, "users are hashes", e)
	}
	must(t, len(users) == 10, "the hash of a user is always the same", users)
}

func showsEnrich(t *testing.T, r ran) {
	names := map[any]int{}
	for _, e := range r.records(t, "orders.ndjson") {
		names[e["customer"].(map[string]any)["name"]]++
	}
	must(t, fmt.Sprint(names) == "map[Anna:25 Bo, jr:25 Carla:25]", "orders have their customers", names)
	unknown := r.records(t, "unknown.ndjson")
	must(t, len(unknown) == 25 && r.Balance.DeadLettered == 25, "those of nobody are dead letters", r.Balance)
}

func drivesEnrichHTTP(t *testing.T, r *rig) {
	var asked, refused atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if refused.Add(1) <= 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		asked.Add(1)
		fmt.Fprintf(w, `{"name":"user %s","secret":"x"}`, strings.TrimPrefix(q.URL.Path, "/users/"))
	}))
	defer server.Close()
	r.env = append(r.env, "USERS="+server.URL+"/users")
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	got := result.records(t, "logins.ndjson")
	must(t, len(got) == 200 && asked.Load() == 10, "each user is asked for once", len(got), asked.Load())
	for i, e := range got {
		must(t, e["n"] == float64(i) && e["name"] == fmt.Sprint("user ", i%10) && e["secret"] == nil, "logins have names, in order", e)
	}
}
