package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

// unreachable says why there was no answer, and what to do about it.
func (k *client) unreachable(err error) error {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var expired x509.CertificateInvalidError
	timeout, ok := err.(interface{ Timeout() bool })
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s\nstart the pipeline with its admin endpoint: pipectl run FILE --admin %s\nor say where it is: --addr HOST:PORT, or PIPECTL_ADDR", k, k.base.Host)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: there is no host %q; say where the pipeline is: --addr HOST:PORT, or PIPECTL_ADDR", k, dns.Name)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s speaks plain HTTP, not HTTPS: use --addr http://%s and leave out the --tls options", k.base.Host, k.base.Host)
	case errors.As(err, &unknown):
		return fmt.Errorf("%s: its certificate is signed by an authority that is not known here: name it with --tls-ca FILE", k)
	case errors.As(err, &host), errors.As(err, &expired):
		return fmt.Errorf("%s: its certificate is not accepted: %w", k, errors.Unwrap(err))
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"), strings.Contains(err.Error(), "tls: unknown certificate authority"):
		return fmt.Errorf("%s wants a client certificate: give it with --tls-cert FILE and --tls-key FILE", k)
	case ok && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer in time: is it a pipeline's admin endpoint, and reachable from here?", k)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s closed the connection: has the pipeline ended?", k)
	}
	return fmt.Errorf("%s: %w", k, err)
}

// stranger says that something else than pipectl answers.
func (k *client) stranger(why string) error {
	return fmt.Errorf("%s does not look like the admin endpoint of pipectl: %s", k, why)
}

// refusal is what the admin endpoint says when it does not do what it was asked
// to. It is an error.
type refusal struct {
	Message     string             `json:"error"`
	Diagnostics config.Diagnostics `json:"diagnostics"`
	Changes     []diff.Change      `json:"changes"` // those that cannot be made

	status int    // of HTTP
	answer []byte // as it came
}

func (r *refusal) Error() string { return r.Message }

// refused makes an error of an answer that is no good one.
func (k *client) refused(resp *http.Response) error {
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return k.unreachable(err)
	}
	r := &refusal{status: resp.StatusCode, answer: answer}
	known := json.Unmarshal(answer, r) == nil && r.Message != ""
	switch {
	case resp.StatusCode == http.StatusUnauthorized && k.token == "":
		return &exitError{engine.ExitFailed, fmt.Errorf("%s wants a token: give it with PIPECTL_TOKEN or --token; it is admin.token of the pipeline's file", k)}
	case resp.StatusCode == http.StatusUnauthorized:
		return &exitError{engine.ExitFailed, fmt.Errorf("%s does not accept the token of %s; it is admin.token of the pipeline's file", k, k.tokenFrom)}
	case known:
		r.Message = printable(r.Message)
		return r
	case k.base.Scheme == "http" && strings.Contains(string(answer), "HTTP request to an HTTPS server"):
		return fmt.Errorf("%s speaks HTTPS: use --addr https://%s", k.base.Host, k.base.Host)
	}
	return k.stranger("it answers " + resp.Status)
}

// isUsage reports whether the request itself was wrong: the configuration, the
// edge, or a value.
func (r *refusal) isUsage() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
