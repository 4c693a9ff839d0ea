package web

import (
	"net/http"

	"github.com/pipectl/pipectl/engine/pipe"
)

// Login are the credentials that HTTP itself knows.
type Login struct {
	// BasicAuth sends user and password.
	BasicAuth *BasicAuth `yaml:"basic_auth"`

	// BearerToken is sent as "Authorization: Bearer TOKEN".
	BearerToken string `yaml:"bearer_token" secret:"true"`
}

// BasicAuth is a user with a password.
type BasicAuth struct {
	// User is the user's name.
	User string `yaml:"user" required:"true"`

	// Password is the user's password.
	Password string `yaml:"password" secret:"true"`
}

// CheckLogin checks that there is one kind of credentials only.
func (l *Login) CheckLogin() error {
	if l.BasicAuth != nil && l.BearerToken != "" {
		return pipe.Fieldf("bearer_token", "cannot be combined with basic_auth: both set the Authorization header")
	}
	return nil
}

// Taken says which headers the credentials set, for CheckHeaders.
func (l *Login) Taken() map[string]string {
	if l.BasicAuth == nil && l.BearerToken == "" {
		return nil
	}
	return map[string]string{"Authorization": "basic_auth or bearer_token"}
}

// Authorize adds the credentials to a request.
func (l *Login) Authorize(req *http.Request) {
	if l.BearerToken != "" {
		req.Header.Set("Authorization", "Bearer "+l.BearerToken)
	}
	if l.BasicAuth != nil {
		req.SetBasicAuth(l.BasicAuth.User, l.BasicAuth.Password)
	}
}
