package health_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
)

// The document for anyone has a constant size, however many routes there are: it
// counts them, and names those that are not well, the required ones first.
func TestTheDocumentForAnyoneHasAConstantSize(t *testing.T) {
	for _, routes := range []int{21, 500, 20_000} {
		in := health.Inputs{Now: time.Now().Add(time.Hour), PolicyLoaded: true, CredentialsUsable: true}
		for n := range routes {
			r := health.Route{Name: fmt.Sprintf("%05d-%s", n, strings.Repeat("x", 50)), Required: n%2 == 0, Availability: targets.OwnAvailable}
			if n == 7 || n == 8 {
				r.Availability = targets.None
			}
			if n%10 == 9 {
				r.Availability = targets.PassiveOnly
			}
			in.Routes = append(in.Routes, r)
		}
		m := health.NewMachine()
		m.Evaluate(in)
		h := health.NewHandler(health.Config{Machine: m})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health/stamp", nil))
		body := w.Body.String()
		if len(body) > 3000 {
			t.Errorf("%d routes: %d bytes", routes, len(body))
		}
		for _, want := range []string{
			"00007-", "00008-", fmt.Sprintf(`"routes:warn":[{"observedValue":%d,`, routes/10), `"routes:fail":[{"observedValue":2,`,
			fmt.Sprintf(`"routes:pass":[{"observedValue":%d,`, routes-2-routes/10),
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%d routes: no %s in %s", routes, want, body)
			}
		}
		one := httptest.NewRecorder()
		h.ServeHTTP(one, httptest.NewRequest(http.MethodGet, "/health/route/00000-"+strings.Repeat("x", 50), nil))
		if one.Code != http.StatusOK {
			t.Errorf("a route that is not named: %d", one.Code)
		}
	}
}
