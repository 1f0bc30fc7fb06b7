package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
)

// errInner stands for what only our log may say.
var errInner = errors.New("dial tcp 10.0.0.7:2379: refused")

// The table from errors to replies, row by row; each error is wrapped, as errors
// are on their way up.
func TestEveryErrorOfTheStoreHasItsReply(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		says   string
		logged string // "": it is the caller's affair alone
	}{
		"a request that makes no sense": {&store.InvalidError{Text: "order kind: want backend"}, 400, client.CodeInvalidRequest, "want backend", ""},
		"a conflict": {
			&store.ConflictError{Boundary: "eu", Serial: 7, Author: "ann", Time: at}, 409, client.CodeConflict,
			`policy 7 of eu was published by "ann" at 2026-05-04T03:02:01Z; read it`, "",
		},
		"a conflict with nothing": {&store.ConflictError{Boundary: "eu"}, 409, client.CodeConflict, "no policy of eu is in force", ""},
		"an outcome that is open": {&store.UncertainError{Serial: 8, Err: errInner}, 503, client.CodeUncertain, "policy 8 may or may not", "outcome of a publication is unknown"},
		"open because etcd is away": {
			&store.UncertainError{Serial: 8, Err: &store.UnavailableError{Err: errInner}}, 503, client.CodeUncertain, "may or may not", "outcome of a publication is unknown",
		},
		"an etcd that is away":   {&store.UnavailableError{Doing: "read", Err: errInner}, 503, client.CodeUnavailable, "nothing was changed", "etcd is not available"},
		"what was tampered with": {&store.MalformedError{Key: "k", Err: errInner}, 502, client.CodeNotGenuine, "publish again", "stored value is malformed"},
		"no policy":              {store.ErrNoPolicy, 404, client.CodeNotFound, "no policy has been published", ""},
		"no serial":              {store.ErrNoSerial, 404, client.CodeNotFound, "no such serial", ""},
		"no order":               {store.ErrNoOrder, 404, client.CodeNotFound, "no such order", ""},
		"what nobody thought of": {errInner, 500, client.CodeInternal, "log says more", "unexpected error"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			w := httptest.NewRecorder()
			ctx, _ := gin.CreateTestContext(w)
			(&server{log: zerolog.New(&log)}).failWith(ctx, fmt.Errorf("while publishing: %w", c.err))
			var reply client.ErrorReply
			if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
				t.Fatal(err)
			}
			if w.Code != c.status || reply.Error.Code != c.code || !strings.Contains(reply.Error.Message, c.says) {
				t.Errorf("%d %s, want %d %s with %q", w.Code, w.Body, c.status, c.code, c.says)
			}
			if strings.Contains(w.Body.String(), "10.0.0.7") {
				t.Errorf("what our log alone may say is told: %s", w.Body)
			}
			if !ctx.IsAborted() {
				t.Error("handlers that follow would write a second answer")
			}
			if !strings.Contains(log.String(), c.logged) || (c.logged == "") != (log.Len() == 0) {
				t.Errorf("logged %q, want %q", log.String(), c.logged)
			}
		})
	}
}

func TestAConflictNamesWhatIsInForceInstead(t *testing.T) {
	w := httptest.NewRecorder()
	ctx, _ := gin.CreateTestContext(w)
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	(&server{}).failWith(ctx, &store.ConflictError{Boundary: "eu", Serial: 7, Digest: "d", Author: "ann", Message: "why", Time: at})
	var reply client.ErrorReply
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || reply.Error.Conflict == nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	c := *reply.Error.Conflict
	if c.Serial != 7 || c.Boundary != "eu" || c.Digest != "d" || c.Author != "ann" || c.Message != "why" || !c.Time.Equal(at) {
		t.Errorf("conflict %+v", c)
	}
}

// A caller who hangs up is no error of ours: a dashboard that is closed must not
// page anyone.
func TestACallerWhoHangsUpIsNoErrorInTheLog(t *testing.T) {
	var log strings.Builder
	w := httptest.NewRecorder()
	ctx, _ := gin.CreateTestContext(w)
	(&server{log: zerolog.New(&log)}).failWith(ctx, fmt.Errorf("read the policy: %w", context.Canceled))
	if ctx.Writer.Status() != statusGone || w.Body.Len() != 0 || log.Len() != 0 || !ctx.IsAborted() {
		t.Errorf("%d %q, logged %q", ctx.Writer.Status(), w.Body, log.String())
	}
}

func TestAPanicIsAnsweredAndStaysInOurLog(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	var log strings.Builder
	s := &server{log: zerolog.New(&log)}
	e := gin.New()
	e.Use(s.record, s.recovered, headers)
	e.GET("/", func(*gin.Context) { panic("the text of the panic") })
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), client.CodeInternal) || strings.Contains(w.Body.String(), "the text") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, want := range []string{"the text of the panic", "reply_test.go", `"status":500`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}
