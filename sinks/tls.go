package sinks

import "github.com/pipectl/pipectl/engine/web"

// TLS is how a sink secures its connections.
type TLS = web.TLS

// BasicAuth is a user with a password.
type BasicAuth = web.BasicAuth
