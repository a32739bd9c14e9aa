package admin

import (
	"context"
	"io"
	"time"
)

// The acts of a PackageChange.
const (
	ActInstall   = "install"
	ActUninstall = "uninstall"
	ActRollback  = "rollback"
)

// Packages are what can be asked about installed packages, of a daemon that runs or in its absence. Every field is set. Errors
// that somebody can act on are *problem.Problem: one with the status 422 says what is wrong with the package itself.
type Packages struct {
	// List is what is installed, sorted by module.
	List func(ctx context.Context) ([]InstalledPackage, error)
	// Stage verifies a package, unpacks it where it harms nobody, and says what installing it would do. It stays there until it is
	// applied, discarded, or a quarter of an hour is over.
	Stage func(ctx context.Context, from io.Reader, o StageOptions) (*PackagePlan, error)
	// Plan says what a change would do.
	Plan func(ctx context.Context, c PackageChange) (*PackagePlan, error)
	// Apply makes a change, and says what it did.
	Apply func(ctx context.Context, c PackageChange) (*PackageOutcome, error)
	// Discard forgets a staged package; one that is not there is no error.
	Discard func(ctx context.Context, staged string) error
	// Approve lets an installed module have what it has asked for and waits for; without grants, all of it.
	Approve func(ctx context.Context, module string, grants []string) ([]ModuleChange, error)
}

// InstalledPackage is one entry of platformd.lock.
type InstalledPackage struct {
	Module    string    `json:"module"`
	Version   string    `json:"version"`
	SHA256    string    `json:"sha256"`
	Signer    string    `json:"signer,omitempty"` // a key's id; empty: it is unsigned
	Installed time.Time `json:"installed"`
	Grants    []string  `json:"grants"`
	Pending   []string  `json:"pending,omitempty"`
	Previous  string    `json:"previous,omitempty"` // the version that rollback returns to
}

// StageOptions say how a package is judged.
type StageOptions struct {
	// Signature is the text of its signature; empty if there is none.
	Signature []byte `json:"-"`
	// AllowUnsigned takes a package without a signature. A bad one is never taken.
	AllowUnsigned bool `json:"allow_unsigned,omitempty"`
	// Replaces lets it take the place of a folder of the same name among the modules.
	Replaces bool `json:"replaces,omitempty"`
	// AllowOlder lets it be older than what is installed.
	AllowOlder bool `json:"allow_older,omitempty"`
}

// PackageChange is what is to become of one module's packages.
type PackageChange struct {
	Act string `json:"act"`
	// Module is whose; of an installation the staged package says so.
	Module string `json:"module,omitempty"`
	// Staged is the package that is installed.
	Staged string `json:"staged,omitempty"`
	// Approve are the grants that the operator approves of; see PackagePlan.Asks. What was approved of earlier need not be there.
	Approve []string `json:"approve,omitempty"`
	// Purge has an uninstallation remove the module's data, too, after Export has got a copy: the name of a file on the platform's
	// machine that is not there yet, or empty for none.
	Purge  bool   `json:"purge,omitempty"`
	Export string `json:"export,omitempty"`
}

// PackagePlan says what a change would do.
type PackagePlan struct {
	Act         string `json:"act"`
	Module      string `json:"module"`
	From        string `json:"from,omitempty"`
	To          string `json:"to,omitempty"`
	Description string `json:"description,omitempty"`
	Staged      string `json:"staged,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	// Signer is the id of the key that has signed the package, and SignerComment what that says of itself.
	Signer        string `json:"signer,omitempty"`
	SignerComment string `json:"signer_comment,omitempty"`
	Effect        Effect `json:"effect"`
	// Asks are what the module asks of the platform.
	Asks []Ask `json:"asks"`
	// Warnings are what does not stand in the way, and should be known.
	Warnings []string `json:"warnings,omitempty"`
	// Refused says why it would not be done; nil if it would.
	Refused *Refusal `json:"refused,omitempty"`
}

// Ask is one thing that a module asks of the platform.
type Ask struct {
	Grant  string `json:"grant"`  // such as "database", "identity.read", "events.subscribe billing.plan.changed"
	Detail string `json:"detail"` // in words
	// Approved ones were approved of before; of the others, those that are not approved of now stay pending.
	Approved bool `json:"approved"`
}

// Refusal says why a change would not be done.
type Refusal struct {
	Code    string `json:"code"`
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
}

// Effect is what a change does, or has done. Every list is sorted, but Modules and Migrations, which are in their order.
type Effect struct {
	Modules     []ModuleChange `json:"modules"`
	Routes      Difference     `json:"routes"`      // "GET /api/v1/blog/posts blog.post.read"
	Permissions Difference     `json:"permissions"` // "blog.post.read → member"
	Grants      Difference     `json:"grants"`      // as Ask.Grant has them; pending ones do not count
	Publishes   Difference     `json:"publishes"`   // "blog.post.created v1"
	Subscribes  Difference     `json:"subscribes"`  // "billing.plan.changed"
	Provides    Difference     `json:"provides"`
	Calls       Difference     `json:"calls"`
	// Migrations are the ids of those that run.
	Migrations []string `json:"migrations"`
	// Contracts are what differs between the services that the module provides and what others were built to call.
	Contracts []string `json:"contracts,omitempty"`
}

// Difference is what is there after a change and not before, and the other way round.
type Difference struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// PackageOutcome is what a change has done.
type PackageOutcome struct {
	Module string `json:"module"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Effect Effect `json:"effect"`
	// Pending are the grants that wait for an approval.
	Pending []string `json:"pending,omitempty"`
	// Exported is where the module's data was written.
	Exported string `json:"exported,omitempty"`
}
