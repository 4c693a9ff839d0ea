package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/pipectl/pipectl/engine/pipe"
)

// TLS is how a client secures its connections. All of it may stay empty: then the
// certificate authorities of the system are trusted.
type TLS struct {
	// CA is the path of a PEM file with the certificate authorities to trust instead
	// of the system's.
	CA string `yaml:"ca"`

	// Cert is the path of the PEM file with the client's certificate, for servers
	// that ask for one. It needs key.
	Cert string `yaml:"cert"`

	// Key is the path of the PEM file with the private key of cert.
	Key string `yaml:"key"`

	// ServerName is the name that the server's certificate must carry, when it is not
	// the host of the address.
	ServerName string `yaml:"server_name"`

	// InsecureSkipVerify accepts any certificate, so that anybody between here and
	// there can read and change what is sent. For tests only.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// Validate checks the fields.
func (t *TLS) Validate() error {
	switch {
	case t.Cert != "" && t.Key == "":
		return pipe.Fieldf("key", "cert needs its key")
	case t.Key != "" && t.Cert == "":
		return pipe.Fieldf("cert", "key needs its certificate")
	case t.InsecureSkipVerify && t.CA != "":
		return pipe.Fieldf("insecure_skip_verify", "makes ca useless: leave one of them out")
	}
	return nil
}

// Config reads the files. It is nil for a nil TLS.
func (t *TLS) Config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls: ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: ca %s holds no certificate in PEM format", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: certificate %s with key %s: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
