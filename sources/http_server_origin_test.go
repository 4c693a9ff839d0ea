package sources

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestHTTPServerClientIsNotWhatItSays: who a client is cannot be chosen by it.
func TestHTTPServerClientIsNotWhatItSays(t *testing.T) {
	f := func(header, remote, want string, sent ...string) {
		t.Helper()
		o, err := newOrigins(header, []string{"10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48"})
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
		for i := 0; i < len(sent); i += 2 {
			r.Header.Add(sent[i], sent[i+1])
		}
		if got := o.of(r); got != want {
			t.Errorf("from %s with %q: got %q, want %q", remote, sent, got, want)
		}
	}
	const xff = "X-Forwarded-For"
	// Not from a proxy: headers say nothing.
	f("", "198.51.100.7:999", "198.51.100.7")
	f("", "198.51.100.7:999", "198.51.100.7", xff, "1.1.1.1")
	f("", "192.0.2.2:999", "192.0.2.2", xff, "1.1.1.1")
	f("X-Api-Key", "198.51.100.7:999", "198.51.100.7", "X-Api-Key", "abc")
	f("", "[::ffff:198.51.100.7]:999", "198.51.100.7", xff, "1.1.1.1")
	f("", "@unix", "@unix", xff, "1.1.1.1")
	// One client of IPv6 has a whole network.
	f("", "[2001:db8::1]:999", "2001:db8::/64")
	f("", "[2001:db8::ffff:1:2]:1", "2001:db8::/64")
	f("", "[2001:db8:0:1::1]:1", "2001:db8:0:1::/64")
	f("", "[fe80::1%eth0]:1", "fe80::/64")
	f("", "[::1]:1", "::1")
	// From a proxy: what it appended, not what the client had put before.
	f("", "10.0.0.9:1", "10.0.0.9")
	f("", "10.0.0.9:1", "198.51.100.7", xff, "198.51.100.7")
	f("", "10.0.0.9:1", "198.51.100.7", xff, "1.1.1.1, 198.51.100.7")
	f("", "10.0.0.9:1", "198.51.100.7", xff, "10.1.1.1, 198.51.100.7")
	f("", "10.0.0.9:1", "198.51.100.7", xff, "1.1.1.1,198.51.100.7,10.0.0.8 , 10.2.3.4")
	f("", "10.0.0.9:1", "198.51.100.7", xff, "1.1.1.1", xff, "2.2.2.2, 198.51.100.7", xff, "10.0.0.8")
	f("", "[::ffff:10.0.0.9]:1", "198.51.100.7", xff, "1.1.1.1, ::ffff:198.51.100.7")
	f("", "192.0.2.1:1", "198.51.100.7", xff, "1.1.1.1, 198.51.100.7:4711")
	f("", "[2001:db8:ffff::1]:1", "2001:db8:0:7::/64", xff, "[2001:db8:0:7::5]:80")
	f("", "[2001:db8:ffff::1]:1", "2001:db8:0:7::/64", xff, "2001:db8:0:7::5")
	f("", "10.0.0.9:1", "10.0.0.7", xff, "10.0.0.7, 10.0.0.8") // nobody but proxies: the first
	// What is no address ends the walk: the last proxy answers for it.
	f("", "10.0.0.9:1", "10.0.0.9", xff, "198.51.100.7, unknown")
	f("", "10.0.0.9:1", "10.0.0.8", xff, "198.51.100.7, , 10.0.0.8")
	f("", "10.0.0.9:1", "10.0.0.9", xff, "198.51.100.7,")
	f("", "10.0.0.9:1", "10.0.0.9", xff, "")
	f("", "10.0.0.9:1", "10.0.0.9", xff, strings.Repeat("9", 30000))
	f("", "10.0.0.9:1", "10.0.0.9", "X-Real-Ip", "1.1.1.1")
	f("", "10.0.0.9:1", "10.0.0.9", "Forwarded", "for=1.1.1.1")
	// A header that the proxy sets.
	f("x-real-ip", "10.0.0.9:1", "198.51.100.7", "X-Real-Ip", "198.51.100.7")
	f("x-real-ip", "10.0.0.9:1", "198.51.100.7", "X-Real-Ip", "1.1.1.1", "X-Real-Ip", " 198.51.100.7 ")
	f("X-Api-Key", "10.0.0.9:1", "name abc", "X-Api-Key", "abc")
	f("X-Api-Key", "10.0.0.9:1", "name 300.1.1.1", "X-Api-Key", "300.1.1.1")
	f("X-Api-Key", "10.0.0.9:1", "10.0.0.9", "X-Api-Key", "")
	f("X-Api-Key", "10.0.0.9:1", "10.0.0.9", "X-Api-Key", strings.Repeat("x", 129))
	f("X-Api-Key", "10.0.0.9:1", "10.0.0.9")

	o, _ := newOrigins("", []string{"10.0.0.0/8"})
	g := func(addr net.Addr, want string, proxy bool) {
		t.Helper()
		if got, p := o.connection(addr); got != want || p != proxy {
			t.Errorf("%v: got %q, %t, want %q, %t", addr, got, p, want, proxy)
		}
	}
	g(&net.TCPAddr{IP: net.IPv4(10, 1, 1, 1), Port: 5}, "10.1.1.1", true)
	g(&net.TCPAddr{IP: net.IPv4(11, 1, 1, 1), Port: 5}, "11.1.1.1", false)
	g(&net.UnixAddr{Name: "x"}, "x", false)
}

func FuzzHTTPServerForwardedFor(f *testing.F) {
	f.Add("1.1.1.1, 10.0.0.1")
	f.Add("[::1]:80,,unknown,")
	o, err := newOrigins("", []string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, list string) {
		ask := func(list string) string {
			return o.of(&http.Request{RemoteAddr: "10.0.0.9:1", Header: http.Header{"X-Forwarded-For": {list}}})
		}
		if got := ask(list + ", 198.51.100.7"); got != "198.51.100.7" {
			t.Errorf("%q before the address made it %q", list, got)
		}
		if got := ask(list); len(got) > 64 {
			t.Errorf("%q became %q", list, got)
		}
	})
}
