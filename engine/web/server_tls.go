package web

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// ServerTLS is the `tls` field of sources and sinks that listen. The files are looked
// at every ten seconds: when they have changed, new connections get the new
// certificate. Files that cannot be used, such as a certificate whose key has not
// been written yet, leave the old one in use, and the log says so.
type ServerTLS struct {
	// Cert is the path of the PEM file with the server's certificate, followed by
	// the intermediate ones.
	Cert string `yaml:"cert" required:"true"`

	// Key is the path of the PEM file with the certificate's private key.
	Key string `yaml:"key" required:"true"`

	// ClientCA is the path of a PEM file with the authorities whose certificates
	// clients must show. Empty asks clients for none.
	ClientCA string `yaml:"client_ca"`
}

// CertificatesEvery is how often Watch looks at the files.
const CertificatesEvery = 10 * time.Second

// Certificates are what the files of a ServerTLS held when they were last good.
type Certificates struct {
	t         *ServerTLS
	protocols []string
	current   atomic.Pointer[tls.Config]

	// Of the one goroutine that loads.
	seen [sha256.Size]byte // what the files held, good or not
	bad  error             // why they could not be used; nil when they could
}

// Open reads the files for the first time. Protocols are those of ALPN, the
// preferred one first; none when what is spoken is not HTTP.
func (t *ServerTLS) Open(protocols ...string) (*Certificates, error) {
	c := &Certificates{t: t, protocols: protocols}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config serves the certificate that is current when a connection begins.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }}
}

// load reads the files. changed means that they hold what they did not before, and
// that it is in use now.
func (c *Certificates) load() (changed bool, err error) {
	var files [3][]byte
	names := [3]string{c.t.Cert, c.t.Key, c.t.ClientCA}
	hash := sha256.New()
	for i, name := range names {
		if name == "" {
			continue
		}
		if files[i], err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("tls: %s: %w", [3]string{"cert", "key", "client_ca"}[i], err)
		}
		fmt.Fprintf(hash, "%d ", len(files[i]))
		hash.Write(files[i])
	}
	seen := [sha256.Size]byte(hash.Sum(nil))
	if seen == c.seen {
		return false, c.bad
	}
	conf, err := newServerConfig(names, files, c.protocols)
	c.seen, c.bad = seen, err
	if err != nil {
		return false, err
	}
	c.current.Store(conf)
	return true, nil
}

func newServerConfig(names [3]string, files [3][]byte, protocols []string) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, fmt.Errorf("tls: certificate %s with key %s: %w", names[0], names[1], err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if names[2] == "" {
		return c, nil
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(files[2]) {
		return nil, fmt.Errorf("tls: client_ca %s holds no certificate in PEM format", names[2])
	}
	return c, nil
}

// Watch loads the files again whenever they change, until over is closed. It logs
// each change and each new reason why there is none.
func (c *Certificates) Watch(over <-chan struct{}, log *slog.Logger) {
	tick := time.NewTicker(CertificatesEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		changed, err := c.load()
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			log.Warn("certificate not renewed; the old one stays in use", "error", err)
		case err == nil && (changed || said != ""):
			said = ""
			log.Info("certificate in use", "cert", c.t.Cert, "expires", c.expires())
		}
	}
}

// expires is when the certificate in use ends.
func (c *Certificates) expires() time.Time { return c.current.Load().Certificates[0].Leaf.NotAfter }
