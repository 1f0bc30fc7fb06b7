package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/cmd/internal/command/commandtest"
)

func TestMain(m *testing.M) { commandtest.Main(m, main) }

const aPolicy = `boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - name: swc
    region: swedencentral
    endpoint: https://swc.openai.azure.com
    credential: {managedIdentity: {}}
    deployments: [{name: gpt-5.4, model: gpt-5.4, version: "2026-03-05", sku: Standard}]
routes: [{name: gpt-5.4, model: gpt-5.4, version: "2026-03-05"}]
`

const (
	aKey      = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // base64 of 32 bytes
	aTrusted  = `["ed25519:` + aKey + `"]`
	aFileBase = "boundary: eu\nregion: swedencentral\nname: g\nlisten: 127.0.0.1:0\nresidency: {countries: [SE]}\n"
	fromFile  = "policy: {file: D/policy.yaml}\n"
)

// folder has the files that the configurations below name as D/….
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"policy.yaml": aPolicy, "key": aKey + "\n", "token": "secret\n", "empty": "", "text": "not what is wanted\n",
		"elsewhere.yaml": strings.ReplaceAll(strings.ReplaceAll(aPolicy, "swedencentral", "westeurope"), "[SE]", "[NL, IE]"),
		"broken.yaml":    strings.Replace(aPolicy, "sku: Standard", "sku: GlobalStandard", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, dir, text string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "D/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheckFailsWhereTheGatewayWouldAndSaysTheSame(t *testing.T) {
	etcd := func(more string) string { return "policy: {etcd: {endpoints: [https://127.0.0.1:1]" + more + "\n" }
	for name, c := range map[string]struct{ config, want string }{
		"no such policy file":           {"policy: {file: D/none.yaml}\n", "policy.file: "},
		"a policy file that is refused": {"policy: {file: D/broken.yaml}\n", "backends[0].deployments[0].sku"},
		"a policy beyond the residency": {"policy: {file: D/elsewhere.yaml}\n", "policy.file: "},
		"a policy file that is no YAML": {"policy: {file: D/text}\n", "policy.file: "},
		"no such certificate":           {fromFile + "tls: {certFile: D/none, keyFile: D/key}\n", "tls: "},
		"a certificate that is none":    {fromFile + "tls: {certFile: D/text, keyFile: D/text}\n", "tls: "},
		"no such admin token":           {fromFile + "admin: {listen: 127.0.0.1:0, tokenFile: D/none}\n", "admin.tokenFile: "},
		"an empty admin token":          {fromFile + "admin: {listen: 127.0.0.1:0, tokenFile: D/empty}\n", "admin.tokenFile: "},
		"no such gossip key":            {fromFile + "gossip: {listen: 127.0.0.1:0, keyFile: D/none}\n", "gossip: "},
		"a gossip key that is none":     {fromFile + "gossip: {listen: 127.0.0.1:0, keyFile: D/text}\n", "gossip: "},
		"gossip to nowhere":             {fromFile + "gossip: {listen: nowhere, keyFile: D/key}\n", "gossip: "},
		"a member that is no address":   {fromFile + "gossip: {listen: 127.0.0.1:0, keyFile: D/key, join: [\"::::\"]}\n", "gossip: "},
		"no such seal key":              {fromFile + "seal: {keyFile: D/none}\n", "seal.keyFile: "},
		"a seal key that is none":       {fromFile + "seal: {keyFile: D/text}\n", "seal.keyFile: "},
		"an empty seal key":             {fromFile + "seal: {keyFile: D/empty}\n", "seal.keyFile: "},
		"a key that is not trusted":     {etcd("}, trustedKeys: [x], cacheDir: D/cache}"), "policy.trustedKeys[0]"},
		"no such etcd CA":               {etcd(", caFile: D/none}, trustedKeys: " + aTrusted + ", cacheDir: D/cache}"), "policy.etcd: etcd.caFile"},
		"an etcd CA that is none":       {etcd(", caFile: D/text}, trustedKeys: " + aTrusted + ", cacheDir: D/cache}"), "policy.etcd: etcd.caFile"},
		"no such etcd certificate":      {etcd(", certFile: D/none, keyFile: D/none}, trustedKeys: " + aTrusted + ", cacheDir: D/cache}"), "policy.etcd: etcd.certFile"},
		"half an etcd certificate":      {etcd(", certFile: D/text}, trustedKeys: " + aTrusted + ", cacheDir: D/cache}"), "policy.etcd: "},
		"an etcd that is no address":    {strings.Replace(etcd("}, trustedKeys: "+aTrusted+", cacheDir: D/cache}"), "https://127.0.0.1:1", "somewhere", 1), "policy.etcd: etcd.endpoints[0]"},
		"a cache below a file":          {etcd("}, trustedKeys: " + aTrusted + ", cacheDir: D/key/cache}"), "policy.cacheDir: "},
		"a listener without a port":     {strings.Replace(fromFile, "policy", "admin: {listen: 127.0.0.1}\npolicy", 1), "admin.listen: "},
		"a port beyond all":             {fromFile + "admin: {listen: 127.0.0.1:99999}\n", "admin.listen: "},
		"a port that is no service":     {fromFile + "admin: {listen: 127.0.0.1:nosuchservice}\n", "admin.listen: "},
		"an address that is none":       {fromFile + "admin: {listen: \"127.0.0.256:0\", tokenFile: D/token}\n", "admin.listen: "},
		"an unknown word":               {fromFile + "polcy: {}\n", "polcy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t)
			file := write(t, dir, aFileBase+c.config)
			check, start := commandtest.Run(t, "check", "--config", file), commandtest.Run(t, "--config", file)
			if check.Code != command.Usage || start.Code != command.Usage {
				t.Errorf("check exits with %d, the gateway with %d; want 2", check.Code, start.Code)
			}
			if check.Errors != start.Errors || check.Out != "" || !strings.Contains(check.Errors, c.want) {
				t.Errorf("check says\n%s\nthe gateway says\n%s\nwant the same, with %q", check.Errors, start.Errors, c.want)
			}
			if strings.Contains(check.Errors, "not what is wanted") || strings.Contains(check.Errors, "secret") {
				t.Errorf("the content of a file is shown: %s", check.Errors)
			}
		})
	}
}

func TestAGoodConfigurationPassesCheckAndLeavesNothingBehind(t *testing.T) {
	dir := folder(t)
	for name, config := range map[string]string{
		"a policy file": fromFile + "admin: {listen: 127.0.0.1:0, tokenFile: D/token}\ngossip: {listen: 127.0.0.1:0, keyFile: D/key}\nseal: {keyFile: D/key}\n",
		"an etcd":       "policy: {etcd: {endpoints: [http://127.0.0.1:1]}, trustedKeys: " + aTrusted + ", cacheDir: D/cache/below}\n",
	} {
		file := write(t, dir, aFileBase+config)
		before := names(t, dir)
		if got := commandtest.Run(t, "check", "--config", file); got.Code != 0 || !strings.Contains(got.Out, "good") {
			t.Errorf("%s: check exits with %d: %s%s", name, got.Code, got.Out, got.Errors)
		}
		if after := names(t, dir); after != before {
			t.Errorf("%s: the folder has %s, before it had %s", name, after, before)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(all, hidden...), " ")
}

func TestTheExitCodeTellsAConfigurationFromAFailure(t *testing.T) {
	dir := folder(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := write(t, dir, strings.Replace(aFileBase, "127.0.0.1:0", taken.Addr().String(), 1)+fromFile)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no configuration":       {nil, command.Usage, "config"},
		"an unknown flag":        {[]string{"--confg", file}, command.Usage, "confg"},
		"an unknown command":     {[]string{"chek", "--config", file}, command.Usage, "chek"},
		"no such file":           {[]string{"--config", filepath.Join(dir, "none")}, command.Usage, "read configuration"},
		"no such level":          {[]string{"--config", file, "--log-level", "loud"}, command.Usage, "--log-level"},
		"the version":            {[]string{"--version"}, 0, "gateway version"},
		"check of a port in use": {[]string{"check", "--config", file}, 0, "good"},
		"a port in use":          {[]string{"--config", file}, command.Failed, "address already in use"},
	} {
		if got := commandtest.Run(t, c.args...); got.Code != c.code || !strings.Contains(got.Out+got.Errors, c.want) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s%s", name, got.Code, c.code, c.want, got.Out, got.Errors)
		}
	}
}
