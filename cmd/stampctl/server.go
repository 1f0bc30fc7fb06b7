package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/infra/devstack"
	"github.com/stampgate/stampgate/stamp/secret"
)

// The variables that stand in for flags.
const (
	envServer    = "STAMPGATE_SERVER"
	envToken     = "STAMPGATE_TOKEN"
	envTokenFile = "STAMPGATE_TOKEN_FILE"
	envStack     = "STAMPGATE_STACK"
	envAuthor    = "STAMPGATE_AUTHOR"
)

// connect makes the client of the control plane that the flags, the variables
// or the development stack name. The caller closes it.
func (g *globals) connect() (*client.Client, error) {
	server, token, err := g.whereTo()
	if err != nil {
		return nil, err
	}
	if token.IsZero() {
		return nil, usage("no token for the control plane: give --token-file, or set %s or %s", envTokenFile, envToken)
	}
	if u, err := url.Parse(server); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		_, _ = fmt.Fprintf(g.err, "warning: the token goes to %s in clear text: use https\n", u.Host)
	}
	c, err := client.New(client.Config{URL: server, Token: token, CAFile: g.caFile})
	if err != nil {
		return nil, usage("%v", err)
	}
	return c, nil
}

// whereTo finds the control plane and what it is asked with.
func (g *globals) whereTo() (server string, token secret.Secret, err error) {
	token, err = g.token()
	if err != nil {
		return "", token, err
	}
	if server = cmp.Or(g.server, os.Getenv(envServer)); server != "" {
		return server, token, nil
	}
	stack, err := discover()
	if errors.Is(err, fs.ErrNotExist) {
		return "", token, usage("which control plane? Give --server or set %s, or be where a development stack runs (no %s here)",
			envServer, filepath.Join(devstack.DefaultDir, devstack.StackFileName))
	}
	if err != nil {
		return "", token, err
	}
	if token.IsZero() {
		token = secret.New(stack.ControlPlane.AdminToken)
	}
	return stack.ControlPlane.URL, token, nil
}

// discover reads the stack file that STAMPGATE_STACK names, or that of the
// working folder. A stack file comes with the folder one happens to be in, so
// it may name nothing but this machine.
func discover() (*devstack.Stack, error) {
	path := cmp.Or(os.Getenv(envStack), filepath.Join(devstack.DefaultDir, devstack.StackFileName))
	stack, err := devstack.Load(path)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(stack.ControlPlane.URL); err != nil || !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%s names a control plane that is not on this machine: give it with --server if it is meant", path)
	}
	return stack, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// token reads the token; zero if none is given.
func (g *globals) token() (secret.Secret, error) {
	path := cmp.Or(g.tokenFile, os.Getenv(envTokenFile))
	if path == "" {
		return secret.New(strings.TrimSpace(os.Getenv(envToken))), nil
	}
	return readToken(path)
}

func readToken(path string) (secret.Secret, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return secret.Secret{}, fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return secret.Secret{}, fmt.Errorf("read the token: %s does not hold one line with a token", path)
	}
	return secret.New(token), nil
}

// author is who the audit trail will name, unless --author says otherwise.
func author() string {
	if name := os.Getenv(envAuthor); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// remedy says what to do about an error of the control plane, "" if the error
// says it itself.
func remedy(err error) string {
	if _, ok := errors.AsType[*client.ConflictError](err); ok {
		return "nothing was changed: look at the difference with 'stampctl policy diff', merge, and apply again"
	}
	if _, ok := errors.AsType[*client.UnauthorizedError](err); ok {
		return "give the token of its tokenFile with --token-file or " + envTokenFile
	}
	if e, ok := errors.AsType[*client.UnreachableError](err); ok {
		text := "check --server and that the control plane runs; gateways go on without it"
		if e.Uncertain {
			text += ". The change may have taken effect: asking again does no harm"
		}
		return text
	}
	return ""
}
