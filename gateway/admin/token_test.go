package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stampgate/stampgate/stamp/secret"
)

// The scheme of a credential is the same in capitals and in small letters
// (RFC 9110, 11.1); the token is not.
func TestTheAdminTokenIsTakenHoweverBearerIsWritten(t *testing.T) {
	a := &Admin{cfg: Config{Token: secret.New("Secret")}}
	for header, want := range map[string]bool{
		"Bearer Secret": true, "bearer Secret": true, "BEARER Secret": true, "Bearer  Secret": true,
		"Bearer secret": false, "Bearer": false, "Bearer ": false, "Basic Secret": false, "Secret": false, "": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/status", http.NoBody)
		r.Header.Set("Authorization", header)
		if got := a.Authorized(r); got != want {
			t.Errorf("%q: %t, want %t", header, got, want)
		}
	}
}
