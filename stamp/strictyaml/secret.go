package strictyaml

import "strings"

// secretField reports whether a field of that name asks for a secret.
func secretField(name string) bool {
	plain := strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(name))
	switch plain {
	case "key", "apikey", "apikeys", "subscriptionkey", "accesskey", "accountkey", "secret", "clientsecret", "secretkey",
		"sharedsecret", "password", "passwd", "passphrase", "token", "apitoken", "accesstoken", "bearer", "bearertoken",
		"authorization", "privatekey", "connectionstring", "sastoken", "clientkey", "key1", "key2":
		return true
	}
	return false
}

// LooksSecret reports whether a value has the form of a credential. It is meant
// for values that ought to be names: a document travels through review tools,
// etcd and status pages, so a key that got into one is a key that leaked.
func LooksSecret(v string) bool {
	v = strings.TrimSpace(v)
	if len(v) < 16 {
		return false
	}
	lower := strings.ToLower(v)
	for _, mark := range []string{"-----begin ", "accountkey=", "sharedaccesskey=", "sig=", "api-key=", "apikey="} {
		if strings.Contains(lower, mark) {
			return true
		}
	}
	switch {
	case strings.HasPrefix(lower, "bearer "), strings.HasPrefix(lower, "basic "):
		return true
	case strings.HasPrefix(v, "sk-") && len(v) >= 23 && mixed(v[3:]): // OpenAI and its imitators
		return true
	case strings.HasPrefix(v, "eyJ") && strings.Count(v, ".") >= 2: // a JSON Web Token
		return true
	case strings.HasPrefix(v, "sg_") && strings.LastIndexByte(v, '_') == len(v)-44: // a client's key of our own
		return true
	case len(v) == 32 && all(v, isHex): // the older form of an Azure key
		return true
	}
	// The newer form of an Azure key (84 characters), and any other random text.
	return len(v) >= 40 && all(strings.TrimRight(v, "="), isBase64) && mixed(v) && !strings.Contains(v, "//")
}

// mixed reports whether letters and digits come as in random text: capitals,
// small letters and digits all there.
func mixed(v string) bool {
	return strings.ContainsAny(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") &&
		strings.ContainsAny(v, "abcdefghijklmnopqrstuvwxyz") && strings.ContainsAny(v, "0123456789")
}

func all(v string, is func(byte) bool) bool {
	for i := range len(v) {
		if !is(v[i]) {
			return false
		}
	}
	return len(v) > 0
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLower(c byte) bool  { return c >= 'a' && c <= 'z' }
func isLetter(c byte) bool { return isLower(c | 0x20) }
func isHex(c byte) bool    { return isDigit(c) || (c|0x20 >= 'a' && c|0x20 <= 'f') }
func isBase64(c byte) bool { return isLetter(c) || isDigit(c) || c == '+' || c == '/' }
