package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// dialed opens a connection to an example.
func dialed(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// awaitLines waits until a file of the run has n lines.
func awaitLines(t *testing.T, r *rig, name string, n int) {
	t.Helper()
	var got []byte
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got, _ = os.ReadFile(filepath.Join(r.out, name)); strings.Count(string(got), "\n") >= n {
			return
		}
	}
	t.Fatalf("%s has %q, want %d lines", name, got, n)
}

func drivesTCPIngest(t *testing.T, r *rig) {
	p := r.start(t)
	c := dialed(t, "tcp", p.listening())
	fmt.Fprint(c, "{\"n\":1}\n{\"n\":\n{\"n\":2}\n")
	awaitLines(t, r, "ingested.ndjson", 2)
	awaitLines(t, r, "bad.ndjson", 1)
	result := p.drained(r)
	must(t, result.Balance.Read == 3 && result.Balance.Delivered == 2 && result.Balance.DeadLettered == 1, "the connection goes on behind a broken line", result.Balance)
	got := result.records(t, "ingested.ndjson")
	must(t, got[0]["n"] == 1.0 && got[1]["n"] == 2.0, "in order", got)
}

func drivesTCPForward(t *testing.T, r *rig) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var lines atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			in := bufio.NewScanner(c)
			for in.Scan() {
				if lines.Add(1) == 100 {
					break // and hang up once
				}
			}
			c.Close()
		}
	}()
	r.env = append(r.env, "ADDRESS="+ln.Addr().String())
	p := r.start(t)
	p.exit(0, 20*time.Second)
	result := r.result(t)
	must(t, result.Balance.Delivered == 500, "all are written", result.Balance)
	must(t, lines.Load() > 100, "a new connection is made after a hangup", lines.Load())
}

func drivesUDPIngest(t *testing.T, r *rig) {
	p := r.start(t)
	c := dialed(t, "udp", p.listening())
	fmt.Fprint(c, "requests:1|c\nerrors:1|c\n")
	fmt.Fprint(c, "requests:2|c")
	awaitFile(t, filepath.Join(r.out, "datagrams.log"), "requests:1|c\nerrors:1|c\nrequests:2|c\n")
	result := p.drained(r)
	must(t, result.Balance.Read == 3 && result.Balance.Delivered == 3, "each line is an event", result.Balance)
}

func drivesSyslog(t *testing.T, r *rig) {
	p := r.start(t)
	c := dialed(t, "tcp", p.listening())
	fmt.Fprint(c, "<11>Mar  1 23:30:00 web-1 app[7]: it broke\n")
	fmt.Fprint(c, "54 <14>1 2026-03-01T23:30:00Z web-2 app 7 - - all is\nwell")
	fmt.Fprint(c, "no priority\n")
	awaitLines(t, r, "errors.ndjson", 1)
	awaitLines(t, r, "rest.ndjson", 1)
	awaitLines(t, r, "unread.ndjson", 1)
	result := p.drained(r)
	failed, fine := result.records(t, "errors.ndjson"), result.records(t, "rest.ndjson")
	must(t, failed[0]["hostname"] == "web-1" && failed[0]["message"] == "it broke" && failed[0]["proc_id"] == "7", "the old format has fields", failed)
	must(t, fine[0]["hostname"] == "web-2" && fine[0]["message"] == "all is\nwell", "a counted message may have line breaks", fine)
	must(t, result.Balance.DeadLettered == 1, "what is no syslog is kept apart", result.Balance)
}
