package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/geo"
)

func keyCommand(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{Use: "key", Short: "Make keys for clients"})
	cmd.AddCommand(keyCreateCommand(g))
	return cmd
}

func keyCreateCommand(g *globals) *cobra.Command {
	var boundary string
	var validFor time.Duration
	cmd := &cobra.Command{
		Use:   "create CLIENT --boundary B",
		Short: "Make a key for a client: the key, shown this once, and the line for the policy",
		Long: `Make a key for a client of a boundary.

The key is shown once and kept nowhere: the policy holds its SHA-256 alone. The
client may use it when the line that is printed with it stands in the client's
entry of the policy and the policy has been applied. To replace a key, add the
new line, apply, give the client its new key, and take the old line out.`,
		Example: "  stampctl key create payroll --boundary eu",
		Args:    operands("CLIENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needed(cmd, "boundary"); err != nil {
				return err
			}
			if !geo.ValidName(args[0]) {
				return usage("client %q: want small letters, digits, dots, hyphens and underscores, such as payroll", args[0])
			}
			if validFor < 0 {
				return usage("--valid-for %v: want a time ahead, or 0 for a key that does not expire", validFor)
			}
			return createKey(g, args[0], geo.Boundary(boundary), validFor)
		},
	}
	cmd.Flags().StringVarP(&boundary, "boundary", "b", "", "boundary that the client belongs to")
	cmd.Flags().DurationVar(&validFor, "valid-for", 365*24*time.Hour, "time until the key expires; 0: never")
	return cmd
}

func createKey(g *globals, client string, boundary geo.Boundary, validFor time.Duration) error {
	key, err := auth.NewKey(boundary)
	if err != nil {
		return fmt.Errorf("make a key for boundary %s: %w", boundary, err)
	}
	sum := sha256.Sum256([]byte(key))
	hash := hex.EncodeToString(sum[:])
	line := fmt.Sprintf("{sha256: %s}", hash)
	if validFor > 0 {
		line = fmt.Sprintf("{sha256: %s, notAfter: %s}", hash, time.Now().Add(validFor).UTC().Format(time.RFC3339))
	}
	result := struct {
		Client   string       `json:"client"`
		Boundary geo.Boundary `json:"boundary"`
		Key      string       `json:"key"`
		SHA256   string       `json:"sha256"`
		Policy   string       `json:"policy"` // the entry for the client's keys
	}{client, boundary, key, hash, line}
	return g.show(result, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "key of %s in boundary %s, shown this once:\n\n  %s\n\n", client, boundary, key)
		_, _ = fmt.Fprintf(w, "for the policy, in the client's entry:\n\n  - name: %s\n    keys:\n      - %s\n", client, line)
	})
}

func signingKeyCommand(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{Use: "signing-key", Short: "Make the key that signs policies, or show its public half"})
	cmd.AddCommand(signingKeyCreateCommand(g), signingKeyShowCommand(g))
	return cmd
}

func signingKeyCreateCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "create FILE",
		Short: "Make a signing key in a new file and print its public half",
		Long: `Make the Ed25519 key with which a control plane signs policies and orders.

The file (mode 0600) is the control plane's signingKeyFile. What is printed goes
into policy.trustedKeys of every gateway. A file that is there already is left
as it is.`,
		Args: operands("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return createSigningKey(g, args[0]) },
	}
}

func signingKeyShowCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Print the public half of the signing key in a file",
		Long: `Print the public half of the signing key in a file, such as the one that a
control plane made for itself (its signingKeyFile). It goes into
policy.trustedKeys of every gateway. What a running control plane signs with is
also in 'stampctl status --output json', as publicKey.`,
		Args: operands("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := signing.LoadKey(args[0])
			if err != nil {
				return err
			}
			return showSigningKey(g, args[0], key)
		},
	}
}

func createSigningKey(g *globals, path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s is there already: give a new file name, or move it away if its gateways no longer trust it", path)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for %s: %w", path, err)
	}
	key, err := signing.LoadOrCreateKey(path)
	if err != nil {
		return err
	}
	return showSigningKey(g, path, key)
}

// showSigningKey prints the public half.
func showSigningKey(g *globals, path string, key signing.PrivateKey) error {
	result := struct {
		File      string            `json:"file"`
		PublicKey signing.PublicKey `json:"publicKey"`
	}{path, key.Public()}
	return g.show(result, func(w io.Writer) { _, _ = fmt.Fprintln(w, key.Public()) })
}
