package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const minimal = "tokenFile: t\nsigningKeyFile: k\nembedded: {dir: e}\nboundaries: {eu: {}}\n"

func TestTheConfigurationIsReadStrictly(t *testing.T) {
	cfg, err := ParseConfig([]byte(minimal))
	if err != nil || cfg.Listen != "127.0.0.1:9400" || cfg.AllowLoopbackBackends {
		t.Fatalf("%+v, %v", cfg, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field":              {minimal + "lisen: x\n", "line 5: lisen: is an unknown field: did you mean listen?"},
		"a repeated field":              {minimal + "tokenFile: u\n", "line 5: tokenFile: is given twice, first on line 1"},
		"an unknown field inside":       {"tokenFile: t\nsigningKeyFile: k\nembedded: {dir: e}\nboundaries: {eu: {etdc: {}}}\n", "line 4: boundaries.eu.etdc: is an unknown field: want one of etcd, embedded"},
		"a second document":             {minimal + "---\nlisten: x\n", "line 5: a second document begins here"},
		"nothing":                       {"", "the document is empty: a configuration names at least tokenFile"},
		"plain HTTP to the world":       {minimal + "listen: 0.0.0.0:9400\n", "not loopback"},
		"half a certificate":            {minimal + "tls: {certFile: c}\n", "belong together"},
		"TLS and no TLS":                {minimal + "tls: {certFile: c, keyFile: k, disabled: true}\n", "disabled"},
		"a boundary that climbs":        {strings.Replace(minimal, "eu:", "../us:", 1), "small letters"},
		"a boundary in capitals":        {strings.Replace(minimal, "eu:", "EU:", 1), "small letters"},
		"neither etcd nor place for it": {strings.Replace(minimal, "embedded: {dir: e}\n", "", 1), "embedded.dir"},
		"an endpoint without a scheme":  {strings.Replace(minimal, "eu: {}", "eu: {etcd: {endpoints: [\"h:1\"]}}", 1), "endpoints[0]"},
		"TLS files for plain HTTP":      {strings.Replace(minimal, "eu: {}", "eu: {etcd: {endpoints: [\"http://h:1\"], caFile: c}}", 1), "use https"},
		"certificates for nothing":      {strings.Replace(minimal, "eu: {}", "eu: {etcd: {caFile: c}}", 1), "without endpoints"},
		"two etcds for one boundary":    {strings.Replace(minimal, "eu: {}", "eu: {etcd: {endpoints: [\"https://h:1\"]}, embedded: {listen: x}}", 1), "of its own"},
		"a trusted key that is none":    {minimal + "trustedKeys: [\"ed25519:x\"]\n", "line 5: trustedKeys[0]: public key: not base64"},
		"several at once":               {minimal + "listen: [x]\nallowLoopbackBackends: 1\n", "line 5: listen: is a list, want text\nline 6: allowLoopbackBackends: is neither true nor false"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseConfig([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
	if _, err := ParseConfig([]byte(minimal + "listen: 0.0.0.0:1\ntls: {disabled: true}\n")); err != nil {
		t.Errorf("plain HTTP that was asked for: %v", err)
	}
	_, err = ParseConfig([]byte("listen: x\nboundaries: {EU: {}}"))
	for _, want := range []string{"listen", "tokenFile", "signingKeyFile", "EU", "embedded.dir"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of several faults %s is missing: %v", want, err)
		}
	}
}

// New code runs with the last release's files: the configuration of the first one,
// with every setting that it had, is read and means the same.
func TestTheConfigurationOfTheFirstReleaseIsRead(t *testing.T) {
	cfg, err := LoadConfig("testdata/v1/controlplane.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "0.0.0.0:9400" || cfg.TLS.KeyFile == "" || cfg.TokenFile == "" || cfg.SigningKeyFile == "" || len(cfg.TrustedKeys) != 1 ||
		cfg.Boundaries["eu"].Etcd.CertFile == "" || cfg.Boundaries["us"].Embedded.Listen != "127.0.0.1:2379" ||
		cfg.Embedded.Dir == "" || !cfg.AllowLoopbackBackends {
		t.Errorf("%+v", cfg)
	}
}

func TestATokenThatOthersCanReadOrGuessIsRefused(t *testing.T) {
	dir := t.TempDir()
	made, err := loadOrCreateToken(filepath.Join(dir, "made"))
	if err != nil || len(made.Reveal()) != 2*tokenBytes {
		t.Fatalf("made: %v", err)
	}
	if again, err := loadOrCreateToken(filepath.Join(dir, "made")); err != nil || !again.Equal(made.Reveal()) {
		t.Errorf("read again it is another: %v", err)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"short": {"abc\n", 0o600}, "empty": {"", 0o600}, "two words": {strings.Repeat("a b", 20), 0o600},
		"endless": {strings.Repeat("a", maxTokenChars+1), 0o600}, "open": {strings.Repeat("a", 64), 0o644},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := loadOrCreateToken(path); err == nil {
			t.Errorf("a token that is %s was taken", name)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("boundaries: {eu: {etcd: {endpoints: [https://h:1]}}}"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := ParseConfig(text)
		if err == nil && cfg.Validate() != nil {
			t.Error("what was accepted is not valid")
		}
	})
}
