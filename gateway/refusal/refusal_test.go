package refusal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Codes and statuses are a contract with clients.
func TestTheTable(t *testing.T) {
	for cause, want := range map[Cause]string{
		Internal: "500 internal_error", NoConnection: "503 overloaded", NoPolicy: "503 no_backend_in_boundary",
		FrontDoorRequired: "403 front_door_required", Unauthorized: "401 unauthorized", WrongBoundary: "403 wrong_boundary",
		OperationNotFound: "404 operation_not_found", InvalidRequest: "400 invalid_request", UpgradeRequired: "426 upgrade_required",
		BadUpgrade: "400 invalid_request", EncodedBody: "415 unsupported_media_type", RequestTooLarge: "413 request_too_large",
		BodyUnreadable: "400 invalid_request", BodyTimeout: "408 request_timeout", HeldByProcess: "503 overloaded",
		HeldByClient: "503 overloaded", RouteNotFound: "404 route_not_found", RouteForbidden: "403 route_forbidden",
		ExternalReference: "400 external_reference", TooManySessions: "429 limit_reached", NoBackend: "503 no_backend_in_boundary",
		Throttled: "429 throttled", ModelRetired: "410 model_retired", UpstreamFailed: "502 upstream_failed",
		UpstreamSilent: "502 upstream_failed", UpstreamTimeout: "504 upstream_timeout", LacksResources: "503 overloaded",
		Draining: "503 draining", BackendLeft: "503 no_backend_in_boundary", RouteRemoved: "404 route_not_found",
		GrantWithdrawn: "403 route_forbidden", CredentialWithdrawn: "403 credential_revoked", ClientGone: "499 ",
	} {
		if r := cause.Reply(); fmt.Sprint(r.Status, " ", r.Code) != want {
			t.Errorf("cause %d: %d %s, want %s", cause, r.Status, r.Code, want)
		}
	}
}

// Every cause has words, and says whether to come back: a fault of the client's or
// of the request is final, what time mends is not.
func TestEveryCauseSaysWhatToDo(t *testing.T) {
	for c := range causes {
		r := c.Reply()
		if c == ClientGone {
			continue
		}
		if r.Message == "" || r.Ending() == "" || r.Code == "" || r.Result() == "" {
			t.Errorf("cause %d: %+v", c, r)
		}
		if r.Final && r.After > 0 || r.Status == 503 && r.After <= 0 || r.Status < 500 && r.Status != 408 && r.Status != 429 && !r.Final {
			t.Errorf("cause %d: final %t, after %v", c, r.Final, r.After)
		}
	}
}

func TestAnErrorMaySayMoreThanTheTable(t *testing.T) {
	e := fmt.Errorf("read: %w", &Error{Cause: Throttled, Message: "more", After: time.Minute})
	if r := Of(e).Reply(); r.Status != 429 || r.Message != "more" || r.After != time.Minute {
		t.Errorf("%+v", r)
	}
	inside := errors.New("dial 10.0.0.1")
	if got := Of(inside); got.Cause != Internal || !errors.Is(got, inside) || got.Reply().Message != Internal.Reply().Message {
		t.Errorf("%+v", got)
	}
	if got := Of(fmt.Errorf("wait: %w", context.Canceled)); got.Cause != ClientGone {
		t.Errorf("%+v", got)
	}
}
