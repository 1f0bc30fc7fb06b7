package azuresim

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The paths of the identity endpoint on the control listener: the one of App
// Service and Container Apps, and the one of virtual machines (IMDS).
const (
	identityPath = "/identity"
	imdsPath     = "/metadata/identity/oauth2/token"
)

// An identity issues tokens in the form of Entra's and checks them again. They
// are signed with a shared key, not with Entra's RSA: whoever validates them
// elsewhere must refuse them.
type identity struct {
	cfg IdentityConfig

	mu      sync.Mutex // guards the fields below
	setting IdentitySetting
	issued  uint64
	asked   uint64
}

// An IdentitySetting is how the identity endpoint behaves at the moment.
type IdentitySetting struct {
	Lifetime time.Duration // of tokens issued from now on
	Status   int           // other than 0: answer with this status instead of a token
	Delay    time.Duration // before each answer
}

// A token holds the claims that matter here.
type token struct {
	Audience string `json:"aud"`
	Issuer   string `json:"iss"`
	IssuedAt int64  `json:"iat"`
	NotBefor int64  `json:"nbf"`
	Expires  int64  `json:"exp"`
	ObjectID string `json:"oid"`
	Subject  string `json:"sub"`
	Tenant   string `json:"tid"`
	AppID    string `json:"appid,omitempty"`
	Version  string `json:"ver"`
}

func newIdentity(cfg IdentityConfig) *identity {
	return &identity{cfg: cfg, setting: IdentitySetting{Lifetime: cfg.Lifetime}}
}

// SetIdentity changes how the identity endpoint behaves from now on. A zero
// lifetime leaves it as it was.
func (s *Sim) SetIdentity(set IdentitySetting) {
	d := s.identity
	d.mu.Lock()
	defer d.mu.Unlock()
	set.Lifetime = cmp.Or(set.Lifetime, d.setting.Lifetime)
	d.setting = set
}

// TokensIssued counts the tokens given out; TokensAsked also counts refusals.
func (s *Sim) TokensIssued() uint64 {
	s.identity.mu.Lock()
	defer s.identity.mu.Unlock()
	return s.identity.issued
}

// TokensAsked counts the calls of the identity endpoint.
func (s *Sim) TokensAsked() uint64 {
	s.identity.mu.Lock()
	defer s.identity.mu.Unlock()
	return s.identity.asked
}

// IssueToken makes a token for an audience, as the identity endpoint would; an
// empty principal stands for the configured one.
func (s *Sim) IssueToken(audience, principal string, lifetime time.Duration) string {
	return s.identity.issue(audience, principal, time.Now(), lifetime)
}

func (d *identity) issue(audience, principal string, now time.Time, lifetime time.Duration) string {
	oid := cmp.Or(principal, d.cfg.ObjectID)
	claims, err := json.Marshal(token{
		Audience: audience, Issuer: "https://sts.windows.net/" + d.cfg.Tenant + "/", IssuedAt: now.Unix(), NotBefor: now.Unix(),
		Expires: now.Add(lifetime).Unix(), ObjectID: oid, Subject: oid, Tenant: d.cfg.Tenant, Version: "1.0",
	})
	if err != nil {
		panic("token claims are strings and numbers only: " + err.Error())
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"typ":"JWT","alg":"HS256","kid":"azuresim"}`)) + "." + enc.EncodeToString(claims)
	return text + "." + enc.EncodeToString(d.sign(text))
}

func (d *identity) sign(text string) []byte {
	m := hmac.New(sha256.New, []byte(d.cfg.SigningKey))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// verify checks signature and time; the audience is the instance's matter.
func (d *identity) verify(text string, now time.Time) (token, error) {
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 || len(text) > 16<<10 {
		return token{}, errors.New("not a token")
	}
	enc := base64.RawURLEncoding.Strict()
	sig, err := enc.DecodeString(text[dot+1:])
	if err != nil || !hmac.Equal(sig, d.sign(text[:dot])) {
		return token{}, errors.New("signature does not match")
	}
	_, payload, _ := strings.Cut(text[:dot], ".")
	claims, err := enc.DecodeString(payload)
	if err != nil {
		return token{}, fmt.Errorf("read claims: %w", err)
	}
	var t token
	if err := json.Unmarshal(claims, &t); err != nil {
		return token{}, fmt.Errorf("read claims: %w", err)
	}
	if at := now.Unix(); at >= t.Expires || at < t.NotBefor {
		return token{}, errors.New("outside its time")
	}
	return t, nil
}

// ServeHTTP answers as the identity endpoints of App Service and of virtual
// machines do.
func (d *identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.asked++
	set := d.setting
	d.mu.Unlock()
	if set.Delay > 0 && !sleep(r.Context(), set.Delay) {
		return
	}
	if set.Status != 0 {
		writeJSON(w, set.Status, map[string]any{"statusCode": set.Status, "message": "An unexpected error occurred while fetching the AAD Token."})
		return
	}
	if !d.entitled(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"statusCode": 401, "message": "The request was denied because the identity header is missing or wrong."})
		return
	}
	q := r.URL.Query()
	resource := q.Get("resource")
	if resource == "" || q.Get("api-version") == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"statusCode": 400, "message": "The parameters resource and api-version are required."})
		return
	}
	now := time.Now()
	reply := map[string]any{
		"access_token": d.issue(resource, "", now, set.Lifetime),
		"expires_on":   strconv.FormatInt(now.Add(set.Lifetime).Unix(), 10),
		"expires_in":   strconv.FormatInt(int64(set.Lifetime/time.Second), 10),
		"not_before":   strconv.FormatInt(now.Unix(), 10),
		"resource":     resource,
		"token_type":   "Bearer",
	}
	if id := q.Get("client_id"); id != "" {
		reply["client_id"] = id
	}
	d.mu.Lock()
	d.issued++
	d.mu.Unlock()
	writeJSON(w, http.StatusOK, reply)
}

// entitled checks the header that proves that the caller runs on the machine.
func (d *identity) entitled(r *http.Request) bool {
	if r.URL.Path == imdsPath {
		return r.Header.Get("Metadata") == "true"
	}
	return subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Identity-Header")), []byte(d.cfg.Header)) == 1
}
