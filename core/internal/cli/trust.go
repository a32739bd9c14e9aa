package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/signing"
)

func (a *app) trust() *cobra.Command {
	return a.group(&cobra.Command{Use: "trust", Short: "Say whose packages this platform takes"},
		a.trustAdd(), a.trustLs(), a.trustRm())
}

func (a *app) trustAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add FILE",
		Short: "Trust a public key",
		Long: "Trusts who has the secret key that belongs to the public key in FILE: whatever they sign may be installed. Get the\n" +
			"file in a way by which nobody can have changed it.",
		Example: "  platformd trust add key.pub",
		Args:    cobra.ExactArgs(1),
	}
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		key, err := signing.LoadKey(args[0])
		if err != nil {
			return err
		}
		dir, err := a.daemonDir(cmd)
		if err != nil {
			return err
		}
		if err := checkOwner(dir, "platformd trust add …"); err != nil {
			return err
		}
		added, err := signing.TrustIn(dir).Add(key)
		if err != nil {
			return err
		}
		if !added {
			fmt.Fprintln(a.err, "it was trusted before")
		}
		return a.out.fields([][2]string{{"key", key.ID}, {"comment", key.Comment}})
	})
}

// trustedKey is a key as `trust ls -o json` prints it.
type trustedKey struct {
	ID      string `json:"id"`
	Comment string `json:"comment"`
	Added   string `json:"added"`
}

func (a *app) trustLs() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the trusted keys", Aliases: []string{"list"}}
	return a.printer(cmd, func(cmd *cobra.Command, _ []string) error {
		dir, err := a.daemonDir(cmd)
		if err != nil {
			return err
		}
		keys, err := signing.TrustIn(dir).Keys()
		if err != nil {
			return err
		}
		list := []trustedKey{}
		rows := [][]string{{"KEY", "ADDED", "COMMENT"}}
		for _, k := range keys {
			list = append(list, trustedKey{k.ID, k.Comment, stamp(k.Added)})
			rows = append(rows, []string{k.ID, stamp(k.Added), k.Comment})
		}
		if a.format == formatJSON {
			return a.out.json(list)
		}
		return a.out.table(rows)
	})
}

func (a *app) trustRm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm KEY",
		Short: "End the trust in a key, by its id",
		Long:  "Ends the trust in a key. What is installed stays; nothing that the key has signed can be installed from now on.",
		Args:  cobra.ExactArgs(1),
	}
	cmd.ValidArgsFunction = a.completeKey
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		dir, err := a.daemonDir(cmd)
		if err != nil {
			return err
		}
		err = signing.TrustIn(dir).Remove(args[0])
		var bad *signing.Error
		if errors.As(err, &bad) && bad.Code == "unknown_key" {
			return WithExit(ExitNotFound, err)
		}
		return err
	})
}

// completeKey offers the ids of trusted keys to the shell.
func (a *app) completeKey(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dir, err := a.daemonDir(cmd)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	keys, _ := signing.TrustIn(dir).Keys() // no keys, no offers
	var ids []cobra.Completion
	for _, k := range keys {
		ids = append(ids, cobra.CompletionWithDesc(k.ID, clean(k.Comment)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
