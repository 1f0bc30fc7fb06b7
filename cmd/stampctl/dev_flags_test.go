package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/infra/devstack"
)

// stackOf is the stack that flags ask for, as "boundary gateways: regions".
func stackOf(f devFlags) (string, devstack.Config, error) {
	if f.dir == "" {
		f.dir = devstack.DefaultDir
	}
	c, err := f.config(io.Discard)
	var lines []string
	for _, b := range c.Boundaries {
		lines = append(lines, fmt.Sprintf("%s %d: %v", b.Name, b.GatewaysPerStamp, b.Regions))
	}
	return strings.Join(lines, ", "), c, err
}

func TestDevFlagsChooseTheStack(t *testing.T) {
	for name, c := range map[string]struct {
		flags devFlags
		want  string
	}{
		"nothing":                                {devFlags{}, "eu 3: [swedencentral westeurope], us 2: [eastus2 westus3]"},
		"one boundary":                           {devFlags{boundaries: []string{"us"}}, "us 2: [eastus2 westus3]"},
		"both, in another order":                 {devFlags{boundaries: []string{"us", "eu"}}, "us 2: [eastus2 westus3], eu 3: [swedencentral westeurope]"},
		"fewer gateways":                         {devFlags{gateways: 1}, "eu 1: [swedencentral westeurope], us 1: [eastus2 westus3]"},
		"other regions run their boundary alone": {devFlags{regions: []string{"eu=francecentral,germanywestcentral"}}, "eu 3: [francecentral germanywestcentral]"},
		"a boundary of one's own":                {devFlags{regions: []string{"ch=switzerlandnorth"}}, "ch 2: [switzerlandnorth]"},
		"two, one of one's own": {
			devFlags{regions: []string{"eu=francecentral", "ch=switzerlandnorth"}, gateways: 4}, "eu 4: [francecentral], ch 4: [switzerlandnorth]",
		},
		"regions of one, the other as it is": {
			devFlags{regions: []string{"eu=francecentral"}, boundaries: []string{"us", "eu"}}, "us 2: [eastus2 westus3], eu 3: [francecentral]",
		},
	} {
		got, _, err := stackOf(c.flags)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestDevFlagsGoIntoTheConfiguration(t *testing.T) {
	_, c, err := stackOf(devFlags{dir: "/d", bin: "/b", keepState: true, tls: true, ports: 20000})
	if err != nil || c.Dir != "/d" || c.BinDir != "/b" || !c.KeepState || !c.TLS || c.PortBase != 20000 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, c, err := stackOf(devFlags{}); err != nil || !filepath.IsAbs(c.BinDir) || c.KeepState || c.TLS || c.PortBase != 0 || c.Dir != ".dev" {
		t.Errorf("when nothing is said: %+v, %v", c, err)
	}
}

func TestDevFlagsThatMakeNoSenseAreUsageErrors(t *testing.T) {
	for line, words := range map[string][]string{
		"--regions eu":                       {"--regions eu: want BOUNDARY=REGION,REGION, such as eu=swedencentral,westeurope"},
		"--regions eu=":                      {"--regions eu=: want"},
		"--regions =swedencentral":           {"want lower-case letters"},
		"--regions EU=swedencentral":         {`boundary "EU"`},
		"--regions eu=atlantis":              {`"atlantis" is not a region of Azure`},
		"--regions eu=westeurope,westeurope": {"region westeurope is named twice"},
		"--regions eu=westeurope,":           {`"" is not a region`},
		"--boundaries mars":                  {"--boundaries mars: only [eu us]", "--regions mars=REGION,REGION"},
		"--boundaries eu,eu":                 {"boundary eu is asked for twice"},
		"--gateways -1":                      {"--gateways -1: want at least 1"},
		"--gateways 1000":                    {"want at most"},
		"--ports 80":                         {"--ports 80: want a first port between 1024"},
		"--ports 65500":                      {"--ports 65500"},
		"--regions eu=x --regions us=y":      {`"x" is not a region`, `"y" is not a region`},
	} {
		stampctl(t, append([]string{"dev", "--dir", t.TempDir()}, strings.Fields(line)...)...).fails(t, command.Usage, words...)
	}
	if got, _, err := stackOf(devFlags{boundaries: []string{"eu"}, regions: []string{"ch=atlanta"}}); err != nil || got != "eu 3: [swedencentral westeurope]" {
		t.Errorf("regions of a boundary that is not asked for: %q, %v", got, err)
	}
}

// A folder of programs without programs, or a stack's folder that is something
// else, is told before anything is started.
func TestDevSaysWhatItLacksBeforeItStarts(t *testing.T) {
	empty := t.TempDir()
	r := stampctl(t, "dev", "--dir", filepath.Join(t.TempDir(), "dev"), "--bin", empty)
	if r.code == command.Done || r.out != "" || !strings.Contains(r.err, empty) {
		t.Errorf("without programs: %+v", r)
	}
	r = stampctl(t, "dev", "--dir", filepath.Dir(file(t, "mine", "precious")), "--bin", builtPrograms(t))
	if r.code == command.Done || r.out != "" || r.err == "" {
		t.Errorf("in a folder that holds something else: %+v", r)
	}
}
