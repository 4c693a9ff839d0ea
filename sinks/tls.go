package sinks

import "github.com/pipectl/pipectl/engine/web"

// TLS is how a sink secures its connections.
type TLS = web.TLS

// ServerTLS is how a sink that listens secures its connections.
type ServerTLS = web.ServerTLS

// BasicAuth is a user with a password.
type BasicAuth = web.BasicAuth
