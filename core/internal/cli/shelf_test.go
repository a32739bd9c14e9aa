package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
)

// signerID is the key that has signed what is on a shelf.
const signerID = "A67C5E224D7C9333"

// shelf is a platform's packages, as much of them as commands see. It says what it was told to, and remembers what it was asked.
type shelf struct {
	mu        sync.Mutex
	plan      admin.PackagePlan // of every change; Act, Module and Staged are those of the change
	installed []admin.InstalledPackage
	stageErr  error
	applyErr  error
	failed    string // why the module does not come up in its new version
	block     bool   // Apply goes on until who asked is gone

	asked   []string
	options admin.StageOptions
	bytes   []byte
	applied []admin.PackageChange
}

func newShelf() *shelf {
	return &shelf{
		plan: newGuestbook(),
		installed: []admin.InstalledPackage{
			{Module: "billing", Version: "0.2.0", Grants: []string{"database"}, Installed: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)},
			{Module: "blog", Version: "0.3.0", Signer: signerID, Previous: "0.2.9", Grants: []string{"database"},
				Pending: []string{"events.subscribe billing.plan.changed"}},
		},
	}
}

// newGuestbook is the plan of a module that is not installed yet.
func newGuestbook() admin.PackagePlan {
	return admin.PackagePlan{
		Act: admin.ActInstall, Module: "guestbook", To: "0.1.0", Description: "Greets whoever asks.", SHA256: "1bf7abf9c4372b66",
		Signer: signerID, SignerComment: "minisign public key " + signerID,
		Asks: []admin.Ask{
			{Grant: "database", Detail: "tables of its own in the platform's database"},
			{Grant: "identity.read", Detail: "read who the users are"},
		},
		Effect: admin.Effect{
			Modules: []admin.ModuleChange{{Module: "guestbook", Act: "start", To: "0.1.0"}},
			Routes: admin.Difference{Added: []string{
				"GET /api/v1/guestbook/greeting guestbook.greeting.read", "GET /api/v1/guestbook/greetings/{name} public",
			}},
			Permissions: admin.Difference{Added: []string{"guestbook.greeting.read → member"}},
			Grants:      admin.Difference{Added: []string{"database", "identity.read"}},
		},
	}
}

// blogUpgrade is a plan that has something of everything.
func blogUpgrade() admin.PackagePlan {
	return admin.PackagePlan{
		Act: admin.ActInstall, Module: "blog", From: "0.3.0", To: "0.4.0", SHA256: "0123456789abcdef",
		Asks: []admin.Ask{
			{Grant: "database", Detail: "tables of its own in the platform's database", Approved: true},
			{Grant: "events.subscribe billing.plan.changed", Detail: "hear of billing.plan.changed"},
			{Grant: "identity.read", Detail: "read who the users are"},
		},
		Effect: admin.Effect{
			Modules: []admin.ModuleChange{
				{Module: "notify", Act: "stop", From: "0.1.0"}, {Module: "blog", Act: "upgrade", From: "0.3.0", To: "0.4.0"},
			},
			Routes: admin.Difference{
				Added: []string{"GET /api/v1/blog/drafts blog.draft.read"}, Removed: []string{"GET /api/v1/blog/feed authenticated"},
			},
			Permissions: admin.Difference{Added: []string{"blog.draft.read → editor, admin"}},
			Grants:      admin.Difference{Removed: []string{"cache 16MiB"}},
			Publishes:   admin.Difference{Added: []string{"blog.post.created v2"}, Removed: []string{"blog.post.created v1"}},
			Subscribes:  admin.Difference{Added: []string{"billing.plan.changed"}},
			Provides:    admin.Difference{Added: []string{"platformd.blog.v1.BlogService"}},
			Calls:       admin.Difference{Removed: []string{"platformd.billing.v1.BillingService/GetPlan"}},
			Migrations:  []string{"0003_drafts", "0004_index"},
			Contracts:   []string{"notify: platformd.blog.v1.BlogService/GetPost: field 3 (body) is gone"},
		},
		Warnings: []string{"nobody has signed the package"},
	}
}

func (s *shelf) set(change func(s *shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// seen is what was asked, and which changes were made.
func (s *shelf) seen() (asked []string, applied []admin.PackageChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked), slices.Clone(s.applied)
}

func (s *shelf) orders() admin.Packages {
	return admin.Packages{
		List: s.list, Stage: s.stage, Plan: s.planned, Apply: s.apply, Discard: s.discard, Approve: s.approve,
	}
}

func (s *shelf) list(context.Context) ([]admin.InstalledPackage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.installed), nil
}

func (s *shelf) stage(_ context.Context, from io.Reader, o admin.StageOptions) (*admin.PackagePlan, error) {
	content, err := io.ReadAll(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.bytes, s.options = append(s.asked, "stage"), content, o
	if err != nil || s.stageErr != nil {
		return nil, errors.Join(s.stageErr, err)
	}
	plan := s.plan
	plan.Staged = "s1"
	return &plan, nil
}

func (s *shelf) planned(_ context.Context, c admin.PackageChange) (*admin.PackagePlan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "plan")
	if c.Module == "nobody" {
		return nil, admin.UnknownModule(c.Module, []string{"blog"}, "platformd module ls")
	}
	plan := s.plan
	plan.Act, plan.Module, plan.Staged = c.Act, c.Module, c.Staged
	plan.Effect.Grants.Added = append(slices.Clone(plan.Effect.Grants.Added), c.Approve...)
	return &plan, nil
}

func (s *shelf) apply(ctx context.Context, c admin.PackageChange) (*admin.PackageOutcome, error) {
	s.mu.Lock()
	s.asked, s.applied = append(s.asked, "apply"), append(s.applied, c)
	block := s.block
	s.mu.Unlock()
	if block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applyErr != nil {
		return nil, s.applyErr
	}
	outcome := &admin.PackageOutcome{Module: c.Module, From: s.plan.From, To: s.plan.To, Effect: s.plan.Effect, Exported: c.Export}
	for _, ask := range s.plan.Asks {
		if c.Act == admin.ActInstall && !ask.Approved && !slices.Contains(c.Approve, ask.Grant) {
			outcome.Pending = append(outcome.Pending, ask.Grant)
		}
	}
	if s.failed != "" {
		outcome.Effect.Modules = []admin.ModuleChange{{Module: c.Module, Act: "upgrade", From: outcome.From, To: outcome.To,
			Problem: s.failed, Fix: "mend it"}}
	}
	return outcome, nil
}

func (s *shelf) discard(_ context.Context, staged string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "discard "+staged)
	return nil
}

func (s *shelf) approve(_ context.Context, module string, grants []string) ([]admin.ModuleChange, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("approve %s %q", module, grants))
	return []admin.ModuleChange{{Module: module, Act: "upgrade", From: "0.3.0", To: "0.3.0", Problem: s.failed}}, nil
}
