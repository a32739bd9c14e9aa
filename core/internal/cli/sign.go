package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/signing"
)

func passphrase(twice bool) hidden {
	return hidden{what: "passphrase", flag: "--passphrase-file", prompt: "Passphrase: ", twice: twice}
}

func passphraseFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", "`file` with the key's passphrase, - for stdin; without it you are asked")
}

func (a *app) keygen() *cobra.Command {
	var file, passphraseFile string
	var open bool
	cmd := &cobra.Command{
		Use:   "keygen -o FILE",
		Short: "Make a key to sign packages with",
		Long: "Makes a secret key, FILE, and the public key that belongs to it, FILE.pub, in the formats of minisign. Keep the\n" +
			"first; give the second to those who are to trust your packages. Neither file may be there already.",
		Example: "  platformd keygen -o key",
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` for the secret key")
	_ = cmd.MarkFlagRequired("output") // it fails only if there is no such flag
	passphraseFlag(cmd, &passphraseFile)
	cmd.Flags().BoolVar(&open, "no-passphrase", false, "do not encrypt the secret key: who has the file can sign")
	cmd.MarkFlagsMutuallyExclusive("passphrase-file", "no-passphrase")
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		for _, path := range []string{file, file + ".pub"} { // before anybody is asked
			if _, err := os.Lstat(path); err == nil {
				return keyIsThere(path)
			}
		}
		word := ""
		if !open {
			var err error
			if word, err = a.secret(cmd, passphraseFile, passphrase(true)); err != nil {
				return err
			}
			if word == "" {
				return withFix(errors.New("the passphrase is empty"), "give one; a key without any is made with --no-passphrase")
			}
		}
		return a.writeKeys(file, word)
	})
}

func keyIsThere(path string) error {
	return withFix(fmt.Errorf("%s is there already, and no key is ever overwritten", path), "name another file with -o")
}

func (a *app) writeKeys(file, word string) error {
	secret, err := signing.Generate()
	if err != nil {
		return err
	}
	text, err := secret.Text(word)
	if err != nil {
		return err
	}
	if err := writeKey(file, text, 0o600); err != nil {
		return err
	}
	if err := writeKey(file+".pub", secret.Public().Text(), 0o644); err != nil {
		return errors.Join(err, os.Remove(file)) // half a pair is of no use
	}
	return a.out.fields([][2]string{{"key", secret.Public().ID}, {"secret key", file}, {"public key", file + ".pub"}})
}

func writeKey(path string, text []byte, mode fs.FileMode) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return keyIsThere(path)
	}
	if err != nil {
		return fmt.Errorf("write the key: %w (fix: choose a folder that is there, and that this user can write)", err)
	}
	_, err = out.Write(text)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the key: %w", err), os.Remove(path))
	}
	return nil
}

func (a *app) sign() *cobra.Command {
	var key, passphraseFile, comment string
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEY",
		Short: "Sign a package, or any file",
		Long: "Signs FILE with a secret key of `platformd keygen` or minisign, and writes FILE.minisig, which replaces one that is\n" +
			"there. Pass both files on: `platformd verify` and `minisign -V` check them.",
		Example: "  platformd sign blog-0.3.0.tar.gz --key key",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&key, "key", "", "`file` with the secret key")
	_ = cmd.MarkFlagRequired("key") // it fails only if there is no such flag
	passphraseFlag(cmd, &passphraseFile)
	cmd.Flags().StringVar(&comment, "comment", "", "`text` that is signed, too (default: the time, and the file's name)")
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		file, err := archive.Open(args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		secret, err := signing.LoadSecret(key, func() (string, error) { return a.secret(cmd, passphraseFile, passphrase(false)) })
		if err != nil {
			return err
		}
		if comment == "" {
			comment = signing.Comment(filepath.Base(args[0]), time.Now())
		}
		bar := a.bar()
		text, err := signing.Sign(cmd.Context(), a.watch(file, bar, "signing"), secret, comment)
		bar.end()
		if err != nil {
			return err
		}
		if err := replaceFile(args[0]+signing.Extension, text); err != nil {
			return err
		}
		return a.out.fields([][2]string{{"signature", args[0] + signing.Extension}, {"key", secret.Public().ID}})
	})
}

// watch shows how much of a file has been read.
func (a *app) watch(file *os.File, bar *progress, what string) *counting {
	w := &counting{Reader: file, progress: bar, what: what}
	if info, err := file.Stat(); err == nil {
		w.total = info.Size()
	}
	return w
}

// replaceFile makes a file whole or not at all.
func replaceFile(path string, content []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".sign-*")
	if err != nil {
		return fmt.Errorf("write the signature: %w (fix: choose a folder that this user can write)", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the signature: %w (fix: see that the disk has room)", err), os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(content)
	//nolint:gosec // a signature is for everybody to read
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
