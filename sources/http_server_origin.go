package sources

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forwardedFor is the header in which each proxy appends who asked it.
const forwardedFor = "X-Forwarded-For"

// longestName bounds a client's name in a header other than X-Forwarded-For.
const longestName = 128

// origins tells clients apart. Nobody can choose who it is: an address is what
// the connection says, and a header counts only where a trusted proxy wrote it.
type origins struct {
	header  string
	proxies []netip.Prefix
}

// parseProxy reads an address or a network.
func parseProxy(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is not an address or a network, such as 10.0.0.7 or 10.0.0.0/8", text)
	}
	if p.Bits() == 0 {
		return p, fmt.Errorf("%s is everybody: any client could say that it is another one", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s is an address inside the network %s: write one of them", text, p.Masked())
	}
	return p, nil
}

func (s *HTTPServer) validateProxies(bad func(field, format string, args ...any)) {
	for i, text := range s.TrustedProxies {
		if _, err := parseProxy(text); err != nil {
			bad(fmt.Sprintf("trusted_proxies[%d]", i), "%w", err)
		}
	}
	switch h := s.ClientHeader; {
	case h == "":
	case !isHeaderName(h):
		bad("client_header", "%q is not the name of a header", h)
	case strings.EqualFold(h, "Forwarded"):
		bad("client_header", "%s is not understood: let the proxies write X-Forwarded-For", h)
	case len(s.TrustedProxies) == 0:
		bad("client_header", "needs trusted_proxies: any client could set the header")
	}
}

func isHeaderName(h string) bool { return h != "" && !strings.ContainsAny(h, " \t\r\n:") }

func newOrigins(header string, proxies []string) (origins, error) {
	o := origins{header: http.CanonicalHeaderKey(header)}
	if header == "" {
		o.header = forwardedFor
	}
	for _, text := range proxies {
		p, err := parseProxy(text)
		if err != nil {
			return o, err
		}
		o.proxies = append(o.proxies, p)
	}
	return o, nil
}

func (o *origins) trusts(a netip.Addr) bool {
	for _, p := range o.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// peer is the far end of a connection. proxy means that it is one of ours.
func (o *origins) peer(remote string) (key string, addr netip.Addr, proxy bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil { // not a network of addresses
		return remote, netip.Addr{}, false
	}
	addr = ap.Addr().Unmap().WithZone("")
	return addressKey(addr), addr, o.trusts(addr)
}

// connection names who is at the far end; proxy means that it is one of ours.
func (o *origins) connection(a net.Addr) (key string, proxy bool) {
	key, _, proxy = o.peer(a.String())
	return key, proxy
}

// of names the client of a request.
func (o *origins) of(r *http.Request) string {
	key, addr, proxy := o.peer(r.RemoteAddr)
	switch {
	case !proxy:
		return key
	case o.header == forwardedFor:
		return o.before(addr, r.Header.Values(forwardedFor))
	}
	return o.named(key, r.Header.Values(o.header))
}

// before walks from proxy to proxy, as long as they are ours: each appended the
// address that asked it, so that the list is read from its end. What stands before
// the first address that is not ours came from there, and may be made up.
func (o *origins) before(proxy netip.Addr, lists []string) string {
	for i := len(lists) - 1; i >= 0; i-- {
		for list := lists[i]; list != ""; {
			cut := strings.LastIndexByte(list, ',')
			addr, ok := parseHop(list[cut+1:])
			if !ok {
				return addressKey(proxy)
			}
			if !o.trusts(addr) {
				return addressKey(addr)
			}
			proxy, list = addr, list[:max(cut, 0)]
		}
	}
	return addressKey(proxy)
}

// parseHop reads one address of a list; some proxies add the port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

// named is the client's name in a header that the proxy sets. Of several the last
// counts: proxies that add rather than set do so at the end.
func (o *origins) named(proxy string, values []string) string {
	if len(values) == 0 {
		return proxy
	}
	name := strings.TrimSpace(values[len(values)-1])
	if addr, ok := parseHop(name); ok {
		return addressKey(addr)
	}
	if name == "" || len(name) > longestName {
		return proxy
	}
	return "name " + name // no address looks like that
}

// addressKey names an address. Whoever has one of IPv6 has the 2⁶⁴ of its network,
// so that they count as one client.
func addressKey(a netip.Addr) string {
	if a.Is6() && !a.IsLoopback() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
