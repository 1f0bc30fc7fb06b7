package azuresim

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bearer returns what follows "Bearer " in the Authorization header.
func bearer(r *http.Request) (string, bool) {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || value == "" {
		return "", false
	}
	return strings.TrimSpace(value), true
}

// looksLikeToken tells a JSON web token from a key: keys have no dots.
func looksLikeToken(s string) bool { return strings.Count(s, ".") == 2 }

// credentialKind tells what a request brings, without judging it.
func credentialKind(r *http.Request) CredentialKind {
	if r.Header.Get("Api-Key") != "" {
		return CredentialAPIKey
	}
	b, ok := bearer(r)
	switch {
	case !ok && queryKey(r) != "":
		return CredentialQueryKey
	case !ok:
		return CredentialNone
	case looksLikeToken(b):
		return CredentialBearerToken
	default:
		return CredentialBearerKey
	}
}

// authenticate returns Azure's refusal, or nil if the request may go on. As in
// Azure an api-key header is looked at first, and a key in the Authorization
// header counts only for the v1 API.
func (i *Instance) authenticate(r *http.Request, v1 bool, now time.Time) *answer {
	switch credentialKind(r) {
	case CredentialAPIKey:
		return i.checkKey(r.Header.Get("Api-Key"))
	case CredentialQueryKey:
		return i.checkKey(queryKey(r))
	case CredentialBearerKey:
		if !v1 {
			return badToken()
		}
		b, _ := bearer(r)
		return i.checkKey(b)
	case CredentialBearerToken:
		b, _ := bearer(r)
		return i.checkToken(b, now)
	default:
		return badKey()
	}
}

func (i *Instance) checkKey(key string) *answer {
	match := false
	for _, k := range []string{i.cfg.APIKey, i.cfg.APIKey2} {
		if k != "" && subtle.ConstantTimeCompare([]byte(k), []byte(key)) == 1 {
			match = true
		}
	}
	switch {
	case i.cfg.KeysDisabled:
		return keysDisabled()
	case !match:
		return badKey()
	}
	return nil
}

func (i *Instance) checkToken(text string, now time.Time) *answer {
	t, err := i.sim.identity.verify(text, now)
	switch {
	case err != nil, i.cfg.AcceptTokens.Disabled:
		return badToken()
	case !slices.ContainsFunc(i.cfg.AcceptTokens.Audiences, func(a string) bool { return sameAudience(a, t.Audience) }):
		return badToken()
	case len(i.cfg.AcceptTokens.Principals) > 0 && !slices.Contains(i.cfg.AcceptTokens.Principals, t.ObjectID):
		return noRole()
	}
	return nil
}

// sameAudience ignores the trailing slash, which some clients send.
func sameAudience(a, b string) bool {
	return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}
