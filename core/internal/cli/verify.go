package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/signing"
)

func (a *app) verify() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a package: its signature, every checksum, its manifest",
		Long: "Checks that FILE is a package, signed (FILE.minisig) with a key that this platform trusts, whole and well made, and\n" +
			"shows what is in it. Nothing of it is written or run. Exits with 7 if it is not as it should be.",
		Example: "  platformd verify blog-0.3.0.tar.gz",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&key, "key", "", "`file` with the only public key to take, instead of the trusted ones")
	return a.printer(cmd, func(cmd *cobra.Command, args []string) error {
		trusted, err := a.verifyingKeys(cmd, key)
		if err != nil {
			return verificationFailed(err)
		}
		v, err := a.examine(cmd.Context(), args[0], trusted)
		if a.format == formatJSON {
			return errors.Join(a.out.json(newExamined(args[0], v, err)), verificationFailed(err))
		}
		if err != nil {
			return verificationFailed(err)
		}
		return a.showExamined(args[0], v)
	})
}

func (a *app) verifyingKeys(cmd *cobra.Command, file string) ([]signing.Key, error) {
	if file != "" {
		key, err := signing.LoadKey(file)
		return []signing.Key{key}, err
	}
	dir, err := a.daemonDir(cmd)
	if err != nil {
		return nil, err
	}
	return signing.TrustIn(dir).Keys()
}

// goodPackage is a package that has been found good.
type goodPackage struct {
	*archive.Package
	signer *signing.Signer
}

// examine looks into a package only when it is known whose it is.
func (a *app) examine(ctx context.Context, path string, trusted []signing.Key) (*goodPackage, error) {
	file, err := archive.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	signature, err := signing.ReadSignature(path)
	if err != nil {
		return nil, err
	}
	bar := a.bar()
	defer bar.end()
	signer, err := signing.Verify(ctx, a.watch(file, bar, "checking the signature"), signature, trusted)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read %s again: %w", path, err)
	}
	pkg, err := archive.Verify(ctx, a.watch(file, bar, "checking what is in it"), archive.Options{})
	if err != nil {
		return nil, err
	}
	if pkg.SHA256 != signer.SHA256 {
		return nil, &archive.Error{Code: "changed_meanwhile", Message: path + " has changed while it was read",
			Fix: "see what writes to it, and run the command again"}
	}
	return &goodPackage{pkg, signer}, nil
}

// verificationFailed gives the exit code to what is wrong with a package, a signature or a key; not to what kept us from looking.
func verificationFailed(err error) error {
	code, _, _ := reasonOf(err)
	if code == "" || code == "unreadable" {
		return err
	}
	return WithExit(ExitVerification, err)
}

// reasonOf takes apart the errors of those who examine packages; code is empty for others.
func reasonOf(err error) (code, message, fix string) {
	var bad *archive.Error
	var badSignature *signing.Error
	switch {
	case errors.As(err, &bad):
		return bad.Code, bad.Message, bad.Fix
	case errors.As(err, &badSignature):
		return badSignature.Code, badSignature.Message, badSignature.Fix
	}
	return "", "", ""
}

// examination is what `verify -o json` prints. After file and valid come what is wrong, or what is in the package.
type examination struct {
	File      string         `json:"file"`
	Valid     bool           `json:"valid"`
	Code      string         `json:"code,omitempty"`
	Message   string         `json:"message,omitempty"`
	Fix       string         `json:"fix,omitempty"`
	Module    string         `json:"module,omitempty"`
	Version   string         `json:"version,omitempty"`
	Platforms []string       `json:"platforms,omitempty"`
	Size      int64          `json:"size,omitempty"`
	Unpacked  int64          `json:"unpacked,omitempty"`
	SHA256    string         `json:"sha256,omitempty"`
	Signer    *examinedKey   `json:"signer,omitempty"`
	Files     []examinedFile `json:"files,omitempty"`
}

type examinedKey struct {
	Key            string `json:"key"`
	Comment        string `json:"comment"`
	TrustedComment string `json:"trusted_comment"`
}

type examinedFile struct {
	Name       string `json:"name"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	Executable bool   `json:"executable"`
}

func newExamined(file string, v *goodPackage, err error) examination {
	if err != nil {
		code, message, fix := reasonOf(err)
		if code == "" {
			message = err.Error()
		}
		return examination{File: file, Code: code, Message: message, Fix: fix}
	}
	e := examination{File: file, Valid: true, Module: v.Manifest.Name, Version: v.Manifest.Version, Platforms: v.Platforms,
		Size: v.Size, Unpacked: v.Unpacked, SHA256: v.SHA256,
		Signer: &examinedKey{v.signer.Key.ID, v.signer.Key.Comment, v.signer.TrustedComment}}
	for _, f := range v.Files {
		e.Files = append(e.Files, examinedFile{f.Name, f.Size, f.SHA256, f.Executable})
	}
	return e
}

func (a *app) showExamined(file string, v *goodPackage) error {
	err := a.out.fields([][2]string{
		{"file", file},
		{"module", summary(v.Manifest)},
		{"description", v.Manifest.Description},
		{"platforms", strings.Join(v.Platforms, ", ")},
		{"size", fmt.Sprintf("%d bytes, %d unpacked", v.Size, v.Unpacked)},
		{"sha256", v.SHA256},
		{"signed by", v.signer.Key.ID + " (" + v.signer.Key.Comment + ")"},
		{"and says", v.signer.TrustedComment},
	})
	if err != nil {
		return err
	}
	rows := [][]string{{"FILE", "SIZE", "SHA256"}}
	for _, f := range v.Files {
		rows = append(rows, []string{f.Name, strconv.FormatInt(f.Size, 10), f.SHA256})
	}
	fmt.Fprintln(a.out)
	return a.out.table(rows)
}
