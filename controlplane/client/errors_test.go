package client_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/stamp/secret"
)

func TestEveryRefusalBecomesAnErrorThatSaysWhatAndWhy(t *testing.T) {
	for name, k := range map[string]struct {
		status int
		body   string
		text   string
		is     func(error) bool
	}{
		"refused": {
			422, `{"error":{"code":"policy_refused","message":"2 faults","faults":[{"path":"a.b","text":"is wrong"},{"path":"c","line":3,"text":"is unknown"}]},"valid":false,"warnings":[{"path":"w","text":"unwise"}]}`,
			"a.b: is wrong", is(func(e *client.RefusedError) bool {
				return len(e.Faults) == 2 && e.Faults[1].Line == 3 && len(e.Warnings) == 1 && e.Message == "2 faults"
			}),
		},
		"conflict": {
			409, `{"error":{"code":"conflict","message":"m","conflict":{"serial":7,"author":"bob","time":"2026-05-04T05:02:01+02:00"}}}`,
			`conflict: policy 7 was published by "bob" at 2026-05-04T03:02:01Z`, is(func(e *client.ConflictError) bool { return e.Current.Serial == 7 && e.Message == "m" }),
		},
		"conflict with nothing":    {409, `{"error":{"code":"conflict","message":"m"}}`, "conflict: no policy is in force", is(func(e *client.ConflictError) bool { return e.Current.Serial == 0 })},
		"unauthorized":             {401, `{"error":{"code":"unauthorized","message":"m"}}`, "does not accept the token", is(func(*client.UnauthorizedError) bool { return true })},
		"not found":                {404, `{"error":{"code":"not_found","message":"no such order"}}`, "no such order", is(func(e *client.NotFoundError) bool { return e.Message == "no such order" })},
		"etcd away":                {503, `{"error":{"code":"etcd_unavailable","message":"the etcd is away"}}`, "the etcd is away (etcd_unavailable)", isAPI(503, "etcd_unavailable")},
		"outcome unknown":          {503, `{"error":{"code":"outcome_unknown","message":"may or may not"}}`, "may or may not (outcome_unknown)", isAPI(503, "outcome_unknown")},
		"too large":                {413, `{"error":{"code":"too_large","message":"at most 9 bytes"}}`, "at most 9 bytes (too_large)", isAPI(413, "too_large")},
		"a code of a newer server": {418, `{"error":{"code":"teapot","message":"short and stout"}}`, "short and stout (teapot)", isAPI(418, "teapot")},
		// What does not come from a control plane has only its status.
		"a proxy's page":          {502, `<html>Bad Gateway</html>`, "the control plane answered 502 Bad Gateway", isAPI(502, "")},
		"a proxy's refusal":       {401, `denied`, "the control plane answered 401 Unauthorized", isAPI(401, "")},
		"a path that is not ours": {404, `404 page not found`, "the control plane answered 404 Not Found", isAPI(404, "")},
		"nothing":                 {500, ``, "the control plane answered 500 Internal Server Error", isAPI(500, "")},
		"another form of error":   {400, `{"error":"bad"}`, "the control plane answered 400 Bad Request", isAPI(400, "")},
		"a list":                  {400, `[1]`, "the control plane answered 400 Bad Request", isAPI(400, "")},
		"a status that is none":   {599, `{}`, "the control plane answered 599", isAPI(599, "")},
		"not modified":            {304, ``, "the control plane answered 304 Not Modified", isAPI(304, "")},
	} {
		c := saying(t, k.status, k.body).client(t)
		for method, do := range methods(c) {
			err := do(t)
			if method == "Validate" && name == "refused" {
				if err != nil {
					t.Errorf("a refused document is a verdict, not %v", err)
				}
				continue
			}
			if err == nil || !k.is(err) || !strings.Contains(err.Error(), k.text) {
				t.Errorf("%s, %s: %T %v, want %q", name, method, err, err, k.text)
				continue
			}
			if strings.Contains(err.Error(), "()") || strings.Contains(err.Error(), token) {
				t.Errorf("%s, %s: %v", name, method, err)
			}
		}
	}
}

func is[E error](holds func(E) bool) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[E](err)
		return ok && holds(e)
	}
}

func isAPI(status int, code string) func(error) bool {
	return is(func(e *client.APIError) bool { return e.Status == status && e.Code == code && e.Message != "" })
}

func TestARefusedDocumentIsAVerdictOfValidate(t *testing.T) {
	c := saying(t, 422, `{"error":{"code":"policy_refused","message":"m","faults":[{"path":"a","text":"t"}]},"valid":false,"faults":[{"path":"a","text":"t"}],"warnings":[{"path":"w","text":"u"}]}`).client(t)
	v, err := c.Validate(t.Context(), eu, []byte("doc"))
	if err != nil || v.Valid || len(v.Faults) != 1 || v.Faults[0] != (policy.Fault{Path: "a", Text: "t"}) || len(v.Warnings) != 1 {
		t.Errorf("verdict %+v, %v", v, err)
	}
}

// A success that cannot be read is no success.
func TestRubbishInASuccessIsAnError(t *testing.T) {
	for name, body := range map[string]string{
		"a page": "<html>login</html>", "nothing": "", "half an object": `{"serial":`, "text": "ok", "a list": "[1]", "two objects": "{}{}",
		"another type": `{"boundary":7,"history":7,"orders":7,"records":7,"boundaries":7,"valid":7,"id":7}`, "no UTF-8 and no JSON": "\xff\xfe",
	} {
		for method, do := range methods(saying(t, http.StatusOK, body).client(t)) {
			if err := do(t); err == nil || !strings.Contains(err.Error(), "read the control plane's answer") {
				t.Errorf("%s, %s: %v", name, method, err)
			}
		}
	}
}

// The token goes to the control plane alone: wherever an answer points, nobody
// is asked there.
func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := saying(t, http.StatusOK, `{}`)
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := answering(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/api/v1/status", status)
		}).client(t)
		for method, do := range methods(c) {
			if err := do(t); !isAPI(status, "")(err) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("%d, %s: %v", status, method, err)
			}
		}
	}
	if calls := elsewhere.asked(); len(calls) != 0 {
		t.Errorf("asked elsewhere: %+v", calls)
	}
}

// A connection that breaks is an answer that did not come: for what changes
// something the outcome is open, and no call is made twice.
func TestABrokenConnectionLeavesAChangeOpenAndIsNotTriedAgain(t *testing.T) {
	hijack := func(w http.ResponseWriter, bytes string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, bytes)
		_ = conn.Close()
	}
	for name, bytes := range map[string]string{
		"before the answer":          "",
		"inside the head":            "HTTP/1.1 200 OK\r\nContent-Le",
		"inside the body":            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"serial\":",
		"inside a chunk":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"serial\"",
		"with what is no HTTP":       "SSH-2.0-OpenSSH_9.9\r\n\r\n",
		"inside an error's body":     "HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\n{\"error\":",
		"with a length that is none": "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
	} {
		p := answering(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w, bytes) })
		asked := 0
		for method, do := range methods(p.client(t)) {
			err := do(t)
			u, ok := errors.AsType[*client.UnreachableError](err)
			if !ok || u.URL != p.URL || u.Uncertain != changing(method) || u.Unwrap() == nil {
				t.Errorf("%s, %s: %v", name, method, err)
				continue
			}
			if !strings.HasPrefix(err.Error(), "no answer from the control plane at "+p.URL+": ") || strings.Contains(err.Error(), "/api/v1") {
				t.Errorf("%s, %s: %v", name, method, err)
			}
			if asked++; len(p.asked()) != asked {
				t.Errorf("%s, %s: asked %d times, want %d", name, method, len(p.asked()), asked)
				asked = len(p.asked())
			}
		}
	}
}

// What an operator wrote (a message, an author) stands in the query: an error
// must not repeat it into a terminal or a log.
func TestAnErrorDoesNotRepeatWhatWasSent(t *testing.T) {
	c := clientOf(t, client.Config{URL: "http://127.0.0.1:1", Token: secret.New(token)})
	_, err := c.Publish(t.Context(), eu, []byte("the document"), client.PublishOptions{Message: "innermost", Author: "mallory"})
	u, ok := errors.AsType[*client.UnreachableError](err)
	if !ok || !u.Uncertain {
		t.Fatalf("error %v", err)
	}
	for _, sent := range []string{"innermost", "mallory", "the document", token} {
		if strings.Contains(err.Error(), sent) {
			t.Errorf("%q is in %v", sent, err)
		}
	}
	// A token that cannot be sent is not shown either.
	c = clientOf(t, client.Config{URL: "http://127.0.0.1:1", Token: secret.New("two\nlines")})
	if _, err := c.Status(t.Context()); err == nil || strings.Contains(err.Error(), "two") {
		t.Errorf("error %v", err)
	}
}

func TestAPeerThatNeverAnswersIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := clientOf(t, client.Config{URL: "http://" + l.Addr().String(), Token: secret.New(token), Timeout: 30 * time.Millisecond})
	if _, err := c.Publish(t.Context(), eu, []byte("doc"), client.PublishOptions{}); !is(func(u *client.UnreachableError) bool { return u.Uncertain })(err) {
		t.Errorf("error %v", err)
	}
}
