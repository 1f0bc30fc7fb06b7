package api_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/api"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// endpoints of the etcd that all tests here share.
var endpoints []string

func TestMain(m *testing.M) {
	os.Exit(apitest.WithEtcd(m, func(e []string) { endpoints = e }))
}

// A boundary is one boundary of a served API, with short ways to ask about it.
type boundary struct {
	*apitest.Server
	name geo.Boundary
}

// serve serves one boundary that no other test has.
func serve(t *testing.T) boundary {
	t.Helper()
	return serveWith(t, apitest.Config{})
}

func serveWith(t *testing.T, cfg apitest.Config) boundary {
	t.Helper()
	b := apitest.Boundary(t)
	cfg.Etcd = endpoints
	cfg.Boundaries = append(cfg.Boundaries, b)
	return boundary{apitest.New(t, cfg), b}
}

// behind serves one boundary whose etcd is reached over a line that the test
// cuts.
func behind(t *testing.T) (boundary, *apitest.Line) {
	t.Helper()
	line := &apitest.Line{}
	return serveWith(t, apitest.Config{Store: func(_ geo.Boundary, c *store.Config) { c.Intercept = line.Intercept }}), line
}

// another is a second control plane for the same boundary, with a key of its
// own that the first one does not trust.
func (b boundary) another(t *testing.T, change func(*api.Config)) boundary {
	t.Helper()
	return boundary{apitest.New(t, apitest.Config{Etcd: endpoints, Boundaries: []geo.Boundary{b.name}, API: change}), b.name}
}

func (b boundary) path(rest string) string { return "/api/v1/boundaries/" + string(b.name) + rest }

func (b boundary) get(t *testing.T, rest string) apitest.Reply {
	t.Helper()
	return b.Call(t, apitest.Request{Path: b.path(rest)})
}

func (b boundary) post(t *testing.T, rest, body string) apitest.Reply {
	t.Helper()
	return b.Call(t, apitest.Request{Method: http.MethodPost, Path: b.path(rest), Body: body})
}

// publish puts the policy with this client in force.
func (b boundary) publish(t *testing.T, client string) client.Publication {
	t.Helper()
	return b.publishWith(t, client, "")
}

func (b boundary) publishWith(t *testing.T, clientName, query string) (p client.Publication) {
	t.Helper()
	b.post(t, "/policy"+query, string(apitest.Policy(b.name, clientName))).Into(t, http.StatusOK, &p)
	return p
}

// inForce is the serial in force, and the document.
func (b boundary) inForce(t *testing.T) (serial uint64, document string) {
	t.Helper()
	var p client.Policy
	b.get(t, "/policy").Into(t, http.StatusOK, &p)
	return p.Serial, p.Document
}

// audited are the records of the audit trail, as "author action subject".
func (b boundary) audited(t *testing.T) string {
	t.Helper()
	var reply client.AuditReply
	b.get(t, "/audit").Into(t, http.StatusOK, &reply)
	var lines []string
	for _, r := range reply.Records {
		lines = append(lines, r.Author+" "+r.Action+" "+r.Subject)
	}
	return strings.Join(lines, "\n")
}
