package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
)

// commands walks all commands that an operator can call.
func commands(visit func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		visit(c)
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(newRoot(&globals{}))
}

func TestEveryCommandAndFlagIsExplained(t *testing.T) {
	golden, err := os.ReadFile("testdata/script/help.txtar")
	if err != nil {
		t.Fatal(err)
	}
	explained := regexp.MustCompile(`^ +(-\w, )?--[\w-]+( \w+)? {2,}\S`)
	commands(func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no summary", c.CommandPath())
		}
		for line := range strings.Lines(c.LocalFlags().FlagUsages()) {
			if strings.Contains(line, "--") && !explained.MatchString(line) {
				t.Errorf("%s: a flag is not explained: %s", c.CommandPath(), line)
			}
		}
		for line := range strings.Lines(c.Example) {
			words := strings.Fields(line)
			found, _, err := c.Root().Find(words[1:])
			if words[0] != "stampctl" || err != nil || found != c {
				t.Errorf("the example %q of %s calls something else", line, c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			if len(sub.Commands()) > 0 || sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			if want := "exec " + sub.CommandPath() + " --help"; !strings.Contains(string(golden), want) {
				t.Errorf("the help script lacks %q", want)
			}
		}
	})
}

func TestHelpIsNoFailureAndGoesToTheOutput(t *testing.T) {
	commands(func(c *cobra.Command) {
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		r := stampctl(t, args...)
		if r.code != command.Done || r.err != "" || !strings.Contains(r.out, "Usage:") {
			t.Errorf("%s --help: %d %s", c.CommandPath(), r.code, r.err)
		}
	})
	if r := stampctl(t, "--version"); r.code != command.Done || !strings.HasPrefix(r.out, "stampctl version ") {
		t.Errorf("--version: %+v", r)
	}
}

// Each of these makes no sense: exit code 2, what is wrong, where to read on,
// and no result.
func TestACommandLineThatMakesNoSenseIsAUsageError(t *testing.T) {
	const somewhere = "--server=http://127.0.0.1:1"
	token := "--token-file=" + file(t, "token", "x\n")
	for line, words := range map[string][]string{
		"":                               {"stampctl needs one of: audit, dev, drain"},
		"statsu":                         {`unknown command "statsu" for "stampctl", did you mean status?`},
		"xyzzy":                          {`unknown command "xyzzy" for "stampctl"`},
		"key":                            {"stampctl key needs one of: create"},
		"signing-key":                    {"needs one of: create, show"},
		"signing-key delete":             {`unknown command "delete" for "stampctl signing-key"`},
		"policy appyl":                   {"did you mean apply?"},
		"policy diff":                    {"FILE is missing"},
		"policy apply":                   {"FILE is missing"},
		"policy apply a b":               {`"b" is one operand too many`},
		"policy apply a --expect x":      {"--expect", "x"},
		"policy apply a --again=perhaps": {"--again", "perhaps"},
		"policy get":                     {"BOUNDARY is missing"},
		"policy get eu us":               {`"us" is one operand too many`},
		"policy get eu --serial=-1":      {"--serial", "-1"},
		"policy history":                 {"BOUNDARY is missing"},
		"policy history eu --limit many": {"--limit", "many"},
		"policy rollback":                {"BOUNDARY is missing"},
		"policy rollback eu":             {"SERIAL is missing"},
		"policy rollback eu 0":           {`serial "0"`, "stampctl policy history eu"},
		"policy rollback eu -1":          {"-1"},
		"policy rollback eu 1 2":         {`"2" is one operand too many`},
		"status eu us":                   {`"us" is one operand too many`},
		"status --quiet":                 {"unknown flag: --quiet"},
		"audit":                          {"BOUNDARY is missing"},
		"audit eu --limit=x":             {"--limit"},
		"drain":                          {"KIND is missing"},
		"drain backend":                  {"NAME is missing"},
		"drain backend x":                {"--boundary is missing"},
		"drain backend x -b eu":          {"--reason is missing"},
		"drain backend x y -b eu":        {`"y" is one operand too many`},
		"drain Backend x -b eu":          {"Backend: want backend, region or gateway"},
		"drain backend x -b eu --reason y --for 0": {"--for 0s: want a time ahead"},
		"drain backend x -b eu --reason y --for 2": {"--for", "missing unit"},
		"undrain":                                 {"KIND is missing"},
		"undrain backend":                         {"NAME is missing"},
		"undrain planet x":                        {"planet: want backend, region or gateway"},
		"undrain backend x":                       {"--boundary is missing"},
		"undrain backend x -b eu --reason y":      {"unknown flag: --reason"},
		"explain":                                 {"--region is missing"},
		"explain --region r":                      {"--client is missing"},
		"explain --region r --client c":           {"--route is missing"},
		"explain --region r --client c --route x": {"--boundary is missing"},
		"explain now --region r":                  {`"now" is one operand too many`},
		"key create":                              {"CLIENT is missing"},
		"key create x":                            {"--boundary is missing"},
		"key create X -b eu":                      {`client "X": want small letters`},
		"key create x -b eu --valid-for=-1h":      {"--valid-for -1h0m0s: want a time ahead, or 0"},
		"signing-key create":                      {"FILE is missing"},
		"signing-key show a b":                    {`"b" is one operand too many`},
		"status -o yaml":                          {"--output yaml: want text or json"},
		"dev now":                                 {`"now" is one operand too many`},
		"dev --gateways some":                     {"--gateways", "some"},
	} {
		r := stampctl(t, append(strings.Fields(line), somewhere, token)...)
		r.fails(t, command.Usage, words...)
		if !strings.Contains(r.err, "\nsee 'stampctl") || !strings.HasSuffix(r.err, " --help'\n") {
			t.Errorf("%q: it does not say where to read on: %s", line, r.err)
		}
	}
}

// The flags of every command may stand anywhere, and "--" ends them.
func TestGlobalFlagsStandAnywhere(t *testing.T) {
	for _, line := range []string{"--output json key create a -b eu", "key --output json create a -b eu", "key create a -b eu --output json", "key create -b eu -o json -- a"} {
		r := stampctl(t, strings.Fields(line)...)
		var key struct{ Client, Boundary, Key, SHA256, Policy string }
		r.done(t, &key)
		if key.Client != "a" || key.Boundary != "eu" {
			t.Errorf("%q: %+v", line, key)
		}
	}
}
