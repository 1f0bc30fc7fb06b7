package plan_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/infra/needs"
)

// etcdDisk is where Azure's udev rules show the disk of a member.
const etcdDisk = "/dev/disk/azure/scsi1/lun10"

// The first start of a member waits for its disk, which is attached after the
// machine exists. It makes a file system on a blank one, and never on one that
// holds anything: a new machine takes over the old one's data.
func TestTheDiskOfEtcd(t *testing.T) {
	needs.Tool(t, "blkid", "mkfs.ext4", "mkswap")
	command := firstCommand(t)
	for name, tc := range map[string]struct {
		before string // shell that makes what is on the disk; $1 is the disk
		made   bool   // whether a file system is made
	}{
		"blank":                        {":", true},
		"etcd's":                       {`mkfs.ext4 -q -L etcd "$1"`, false},
		"another's":                    {`mkfs.ext4 -q -L other "$1"`, false},
		"swap":                         {`mkswap -q "$1"`, false},
		"two kinds at once, ambiguous": {`mkfs.ext4 -q "$1"; printf 'XFSB' | dd of="$1" conv=notrunc status=none; mkswap -q "$1"`, false},
		"with a table of partitions":   {`printf '\200\0\0\0\203\0\0\0\0\010\0\0\0\010\0\0' | dd of="$1" bs=1 seek=446 conv=notrunc status=none; printf '\125\252' | dd of="$1" bs=1 seek=510 conv=notrunc status=none`, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk, coming := filepath.Join(dir, "disk"), filepath.Join(dir, "coming")
			sh(t, dir, `truncate -s 8M "$1"; `+tc.before, coming)
			was := read(t, coming)
			sh(t, dir, strings.ReplaceAll(strings.ReplaceAll(command, etcdDisk, disk), "[ -b ", "[ -e "))
			is := read(t, disk)
			if (was != is) != tc.made {
				t.Errorf("the disk was written: %v, want %v", was != is, tc.made)
			}
			if label := sh(t, dir, `blkid -p -o value -s LABEL "$1"`, disk); tc.made && label != "etcd\n" {
				t.Errorf("its label is %q, want etcd, which fstab asks for", label)
			}
			if calls := read(t, filepath.Join(dir, "calls")); !strings.HasSuffix(calls, "mount /var/lib/etcd\n") {
				t.Errorf("called %q, want the disk mounted at the end", calls)
			}
		})
	}
}

// firstCommand is what a member's machine does before it starts anything.
func firstCommand(t *testing.T) string {
	t.Helper()
	tf := needTerraform(t)
	if err := tf.Check(t.Context(), "modules/policy-store"); err != nil {
		t.Fatal(err)
	}
	plans, _, err := tf.Test(t.Context(), "modules/policy-store")
	if err != nil {
		t.Fatal(err)
	}
	text, err := base64.StdEncoding.DecodeString(plans["three_over_zones"].Of("azurerm_linux_virtual_machine")[0].Text("custom_data"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Run [][]string `yaml:"runcmd"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if first := doc.Run[0]; len(first) == 3 && strings.Contains(first[2], etcdDisk) {
		return first[2]
	}
	t.Fatalf("the first command is %q, want a wait for %s", doc.Run[0], etcdDisk)
	return ""
}

// sh runs a line with the machine's own blkid and mkfs. What would touch the
// machine is only noted in the file calls, and a sleep brings the disk.
func sh(t *testing.T, dir, line string, args ...string) string {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, does := range map[string]string{
		"sleep": `mv "$DIR/coming" "$DIR/disk"`, "udevadm": ":", "systemctl": ":", "mountpoint": "exit 1", "mount": ":",
		"hostname": "echo swc000001",
	} {
		script := "#!/bin/sh\necho \"" + name + " $*\" >>\"$DIR/calls\"\n" + does + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", line, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "DIR="+dir, "PATH="+bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out)
}
