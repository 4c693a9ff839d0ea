package config

import (
	"fmt"
	"net"
)

// Exposed reports whether other machines can reach the address without anything
// that keeps strangers out. It is false for an address that cannot be read.
func (a Admin) Exposed() bool {
	host, _, err := net.SplitHostPort(a.Listen)
	return err == nil && !loopback(host) && a.Token == "" && a.TLS.ClientCA == ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkAdmin checks that the admin endpoint can be served, and not to everybody.
func (p *Pipeline) checkAdmin(s *scope) {
	a := p.Admin
	fail := func(path, code, msg, hint string) { s.fail(s.places.at(path, s.pos), path, code, msg, hint) }
	switch _, _, err := net.SplitHostPort(a.Listen); {
	case a.Listen == "":
	case err != nil:
		fail("admin.listen", "bad-value", fmt.Sprintf("%s is not an address", quoted(a.Listen)), "write host:port, such as 127.0.0.1:9464")
	case a.Exposed():
		fail("admin.listen", "admin-exposed", fmt.Sprintf("%s can be reached from other machines and needs a token", a.Listen),
			`listen on 127.0.0.1, or add token: "${PIPECTL_TOKEN}", or tls with a client_ca`)
	}
	switch t := a.TLS; {
	case t.Cert != "" && t.Key == "":
		fail("admin.tls.cert", "admin-tls", "the certificate needs its key", "add key: FILE")
	case t.Cert == "" && t.Key != "":
		fail("admin.tls.key", "admin-tls", "the key needs its certificate", "add cert: FILE")
	case t.Cert == "" && t.ClientCA != "":
		fail("admin.tls.client_ca", "admin-tls", "client certificates need HTTPS", "add cert: FILE and key: FILE")
	}
}
