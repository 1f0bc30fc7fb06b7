package credential

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/stamp/secret"
)

// renewBefore is when a token is renewed whose issuer does not say when.
const renewBefore = 5 * time.Minute

// A tokenFetcher gets tokens of an Azure identity. Only one goroutine uses it:
// azidentity holds a lock while it waits for the network.
type tokenFetcher struct {
	credential policy.Credential
	scope      string
	newToken   func(policy.Credential) (azcore.TokenCredential, error)
	timeout    time.Duration

	azure azcore.TokenCredential // made at the first fetch that can
}

// fetch asks with a deadline of its own: an identity endpoint that is not there
// would block for minutes.
func (t *tokenFetcher) fetch(ctx context.Context, fresh bool) (fetched, error) {
	if t.azure == nil {
		azure, err := t.newToken(t.credential)
		if err != nil {
			return fetched{}, fmt.Errorf("set up identity: %w", err)
		}
		t.azure = azure
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, errors.New("the identity endpoint did not answer in time"))
	defer cancel()
	options := azpolicy.TokenRequestOptions{Scopes: []string{t.scope}}
	if fresh {
		options.Claims = "{}" // any claims make azidentity pass over its cache
	}
	token, err := t.azure.GetToken(ctx, options)
	now := time.Now()
	switch {
	case err != nil && ctx.Err() != nil:
		return fetched{}, context.Cause(ctx)
	case err != nil:
		return fetched{}, fmt.Errorf("get token: %s", tokenFault(err))
	case token.Token == "" || !now.Before(token.ExpiresOn):
		return fetched{}, errors.New("get token: the identity endpoint gave an empty or expired one")
	}
	f := fetched{
		grant:   grant{header: "Authorization", value: secret.New("Bearer " + token.Token), expires: token.ExpiresOn},
		renewAt: renewAt(token, now),
	}
	// azidentity hides a failed renewal as long as its cached token is good.
	if overdue := now.Sub(token.ExpiresOn.Add(-renewBefore)); overdue >= 0 && !token.RefreshOn.IsZero() && token.RefreshOn.Before(now) {
		f.late = "it could not be renewed, and expires within 5 minutes"
	}
	return f, nil
}

func renewAt(token azcore.AccessToken, now time.Time) time.Time {
	at := token.RefreshOn
	if at.IsZero() {
		at = token.ExpiresOn.Add(-renewBefore)
	}
	if soonest := now.Add(minRenewal); at.Before(soonest) {
		return soonest
	}
	return at
}

// azureToken makes the credentials of azidentity: the one that the policy names,
// never a chain that tries what it finds.
func azureToken(disableDiscovery bool) func(policy.Credential) (azcore.TokenCredential, error) {
	return func(c policy.Credential) (azcore.TokenCredential, error) {
		if c.WorkloadIdentity != nil {
			return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
				ClientID: c.WorkloadIdentity.ClientID, TenantID: c.WorkloadIdentity.TenantID,
				DisableInstanceDiscovery: disableDiscovery,
			})
		}
		var options azidentity.ManagedIdentityCredentialOptions
		if c.ManagedIdentity != nil && c.ManagedIdentity.ClientID != "" {
			options.ID = azidentity.ClientID(c.ManagedIdentity.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(&options)
	}
}

// tokenFault words a failure to get a token. What the library says quotes the
// identity endpoint's answer, which may be anything: of that, only the status and
// the number of Microsoft Entra's error go on.
func tokenFault(err error) string {
	if failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && failed.RawResponse != nil {
		text := "the identity endpoint answered " + strconv.Itoa(failed.RawResponse.StatusCode)
		if code := entraCode(err.Error()); code != "" {
			text += " (" + code + ")"
		}
		return text
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file.Error()
	}
	if conn, ok := errors.AsType[*net.OpError](err); ok {
		return "the identity endpoint cannot be reached: " + conn.Error() // addresses, and words of the system
	}
	if conn, ok := errors.AsType[*net.DNSError](err); ok {
		return "the identity endpoint cannot be reached: " + conn.Error()
	}
	return "the identity endpoint gave none that can be understood"
}

// entraCode finds the first error number of Microsoft Entra in a text.
func entraCode(text string) string {
	const mark, longest = "AADSTS", 10
	_, rest, ok := strings.Cut(text, mark)
	if !ok {
		return ""
	}
	n := 0
	for n < min(len(rest), longest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	if n == 0 {
		return ""
	}
	return mark + rest[:n]
}

// redact makes one bounded line of an identity library's error, which may quote
// an endpoint's answer: anything long enough to be a token is masked.
func redact(text string) string {
	const maxLength = 400
	var out strings.Builder
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"',{}()[]<>`, r) }) {
		if out.Len()+len(word) > maxLength && out.Len() > 0 {
			out.WriteString(" …")
			break
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		word = mask(word)
		out.WriteString(word)
	}
	return out.String()
}

// mask hides a word that may be a token. Paths and addresses stay, but no query.
func mask(word string) string {
	const (
		longestName = 40 // a GUID has 36 characters
		longestPath = 200
	)
	limit := longestName
	if strings.HasPrefix(word, "/") || strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://") {
		word, _, _ = strings.Cut(word, "?")
		limit = longestPath
	}
	if len(word) > limit {
		return "[masked]"
	}
	return word
}
