package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/packing"
	"github.com/platformd/platformd/core/internal/signing"
)

// approveAll stands for everything that a module asks for.
const approveAll = "all"

// unsigned is the code of a package without a signature.
const unsigned = "unsigned"

// discardTimeout is how long a command that is about to end takes to have a package forgotten. The platform forgets it later by
// itself.
const discardTimeout = 5 * time.Second

// installation is how a package is to be installed.
type installation struct {
	admin.StageOptions
	approve []string
	yes     bool
	known   bool // only what is installed already
}

func (o *installation) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.AllowUnsigned, "allow-unsigned", false, "take a package without a signature; a bad one is never taken")
	flags.BoolVar(&o.AllowOlder, "allow-downgrade", false, "take an older version than the one that is installed")
	flags.StringArrayVar(&o.approve, "approve", nil,
		"`grant` that the module may have, or all (default: all that a new module asks for, and nothing new of an upgrade)")
}

func (o *installation) replaceFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.Replaces, "replace", false, "take the place of the folder of that name among the modules")
}

func (a *app) install() *cobra.Command {
	o := &installation{}
	cmd := &cobra.Command{
		Use:   "install FILE|DIR",
		Short: "Install a package, or upgrade a module to it, without a failed request",
		Long: "Verifies a package and its signature (FILE.minisig), shows what installing it would do and what the module asks for,\n" +
			"asks, and does it. A module that runs is upgraded without a failed request; if the new version does not come up, the\n" +
			"one before goes on. Of a module's folder a package is made first, without a signature.\n\n" +
			"What a new module asks for it gets with your yes, or with -y. What an upgrade asks for beyond that stays pending until\n" +
			"somebody approves of it: when asked, by --approve, or later by `platformd module approve`.",
		Example: "  platformd install guestbook-0.1.0.tar.gz\n" +
			"  platformd install ./guestbook --allow-unsigned -y\n" +
			"  platformd install blog-0.4.0.tar.gz -y --approve 'events.subscribe billing.plan.changed'",
		Args: cobra.ExactArgs(1),
	}
	o.flags(cmd)
	o.replaceFlag(cmd)
	yesFlag(cmd, &o.yes)
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error { return a.installFrom(cmd, args[0], o) })
}

func (a *app) upgrade() *cobra.Command {
	o := &installation{known: true}
	cmd := &cobra.Command{
		Use:     "upgrade FILE|DIR",
		Short:   "Upgrade a module that is installed to a package, without a failed request",
		Long:    "Does what `platformd install` does, for a module that is installed already.",
		Example: "  platformd upgrade guestbook-0.2.0.tar.gz",
		Args:    cobra.ExactArgs(1),
	}
	o.flags(cmd)
	yesFlag(cmd, &o.yes)
	return a.packager(cmd, func(cmd *cobra.Command, args []string) error { return a.installFrom(cmd, args[0], o) })
}

func (a *app) installFrom(cmd *cobra.Command, path string, o *installation) error {
	if err := mustBeAsked(cmd, o.yes); err != nil {
		return err
	}
	return a.staged(cmd, path, o, func(ctx context.Context, packages admin.Packages, p *proposal) error {
		if err := a.propose(p, o.yes); err != nil {
			return err
		}
		if err := a.consent(cmd, p, o.yes); err != nil {
			return err
		}
		return a.apply(ctx, packages, p)
	})
}

// consent asks whether to install, and whether a module that is there may have what is new.
func (a *app) consent(cmd *cobra.Command, p *proposal, yes bool) error {
	if yes {
		return nil
	}
	question := fmt.Sprintf("Install %s %s?", p.plan.Module, p.plan.To)
	if p.plan.From != "" {
		question = fmt.Sprintf("Upgrade %s to %s?", p.plan.Module, p.plan.To)
	}
	if err := a.agree(cmd, clean(question)); err != nil {
		return err
	}
	left := slices.DeleteFunc(p.unapproved(), func(grant string) bool { return slices.Contains(p.Approve, grant) })
	if len(left) == 0 {
		return nil
	}
	may, err := a.isYes(cmd, clean(fmt.Sprintf("May it have what is new (%s)?", strings.Join(left, ", "))))
	if may {
		p.Approve = append(p.Approve, left...)
	}
	return err
}

// staged hands a package over, lets work have what installing it would do, and has the package forgotten.
func (a *app) staged(
	cmd *cobra.Command, path string, o *installation, work func(context.Context, admin.Packages, *proposal) error,
) error {
	from, err := a.source(cmd.Context(), path, o)
	if err != nil {
		return err
	}
	defer from.close()
	return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error {
		packages := at.Packages
		plan, err := a.send(ctx, packages, from, o)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
			defer cancel()
			_ = packages.Discard(ctx, plan.Staged)
		}()
		p, err := o.proposal(ctx, packages, plan)
		if err != nil {
			return err
		}
		return work(ctx, packages, p)
	})
}

func (a *app) send(ctx context.Context, packages admin.Packages, from *source, o *installation) (*admin.PackagePlan, error) {
	options := o.StageOptions
	options.Signature = from.signature
	bar := a.bar()
	defer bar.end()
	return packages.Stage(ctx, a.watch(from.file, bar, "handing it over"), options)
}

// proposal plans again if it is told what to approve of: the effect depends on that. The first plan has what is approved of
// otherwise, all that a new module asks for and nothing new of one that is there.
func (o *installation) proposal(ctx context.Context, packages admin.Packages, plan *admin.PackagePlan) (*proposal, error) {
	p := &proposal{admin.PackageChange{Act: admin.ActInstall, Module: plan.Module, Staged: plan.Staged}, plan}
	if plan.Refused != nil {
		return p, nil
	}
	if o.known && plan.From == "" {
		return nil, &failure{err: fmt.Errorf("module %s is not installed", plan.Module), code: ExitNotFound,
			fix: "install it: platformd install FILE"}
	}
	if len(o.approve) == 0 {
		if plan.From == "" {
			p.Approve = p.unapproved()
		}
		return p, nil
	}
	if err := o.approvals(p); err != nil {
		return nil, err
	}
	var err error
	p.plan, err = packages.Plan(ctx, p.PackageChange)
	return p, err
}

// approvals are the grants that the command line names.
func (o *installation) approvals(p *proposal) error {
	p.Approve = o.approve
	if slices.Contains(o.approve, approveAll) {
		p.Approve = p.unapproved()
	}
	for _, grant := range p.Approve {
		if !slices.ContainsFunc(p.plan.Asks, func(ask admin.Ask) bool { return ask.Grant == grant }) {
			return unknownGrant(p.plan.Module, grant, p.unapproved())
		}
	}
	return nil
}

func unknownGrant(module, grant string, open []string) error {
	fix := "leave it out"
	if len(open) > 0 {
		fix = "name some of these: " + strings.Join(open, ", ")
	}
	return &failure{err: fmt.Errorf("module %s does not ask for %q", module, grant), code: ExitUsage, fix: fix}
}

// source is a package to install. It is to be closed.
type source struct {
	file      *os.File
	signature []byte
	scratch   string // a folder that goes with it, if there is one
}

func (s *source) close() {
	_ = s.file.Close() // it was read
	if s.scratch != "" {
		_ = os.RemoveAll(s.scratch) // a temporary folder
	}
}

// source opens a package with its signature, or makes one of a folder.
func (a *app) source(ctx context.Context, path string, o *installation) (*source, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return a.packed(ctx, path, o)
	}
	file, err := archive.Open(path)
	if err != nil {
		return nil, err
	}
	signature, err := signing.ReadSignature(path)
	if code, message, _ := reasonOf(err); code == unsigned && o.AllowUnsigned {
		err = nil
	} else if code == unsigned {
		err = &signing.Error{Code: unsigned, Message: message,
			Fix: "get the signature, too, and put it beside the file; or add --allow-unsigned, if you know whose it is"}
	}
	if err != nil {
		_ = file.Close() // nothing was read
		return nil, err
	}
	return &source{file: file, signature: signature}, nil
}

// packed makes a package of a module's folder.
func (a *app) packed(ctx context.Context, dir string, o *installation) (*source, error) {
	if !o.AllowUnsigned {
		return nil, &signing.Error{Code: unsigned, Message: dir + " is a folder: what is packed of it has no signature",
			Fix: "add --allow-unsigned; or pack and sign it first: platformd pack " + dir}
	}
	scratch, err := os.MkdirTemp("", "platformd-install-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the package: %w (fix: set TMPDIR to a folder with room)", err)
	}
	from, err := a.packInto(ctx, dir, scratch)
	if err != nil {
		_ = os.RemoveAll(scratch) // a temporary folder
		return nil, err
	}
	return from, nil
}

func (a *app) packInto(ctx context.Context, dir, scratch string) (*source, error) {
	bar := a.bar()
	report, err := packing.Pack(ctx, packing.Options{
		Dir: dir, Output: filepath.Join(scratch, "package.tar.gz"), Progress: bar.show,
	})
	bar.end()
	if err != nil {
		return nil, err
	}
	for _, note := range report.Notes {
		fmt.Fprintln(a.err, "note: "+clean(note))
	}
	file, err := archive.Open(report.File)
	if err != nil {
		return nil, err
	}
	return &source{file: file, scratch: scratch}, nil
}
