package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/signing"
	"github.com/platformd/platformd/core/internal/store"
	"github.com/platformd/platformd/plugin-api/problem"
)

// stagedFor is how long a package waits for somebody who makes up their mind.
const stagedFor = 15 * time.Minute

// packages are the installed ones, and those that may become so. Safe for concurrent use.
type packages struct {
	*store.Store
	// purging is the module whose data was to be removed when a daemon before was killed.
	purging string

	mu     sync.Mutex // guards the rest
	staged map[string]*staged
}

// staged is a package that has been verified and unpacked, and that nobody uses yet.
type staged struct {
	*store.Staged
	id      string
	options admin.StageOptions
	signer  *signing.Signer // nil: it is unsigned
	expiry  *time.Timer
}

// entry is what platformd.lock is to say of it, but for the grants.
func (s *staged) entry() store.Entry {
	e := store.Entry{
		Version: s.Package().Manifest.Version, SHA256: s.Package().SHA256, Contents: s.Contents(), Replaces: s.options.Replaces,
	}
	if s.signer != nil {
		e.Signer = s.signer.Key.ID
	}
	return e
}

func (p *packages) keep(s *staged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.id = rand.Text()
	s.expiry = time.AfterFunc(stagedFor, func() { _ = p.discard(s.id) })
	p.staged[s.id] = s
}

func (p *packages) get(id string) (*staged, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.staged[id]
	if s == nil {
		return nil, problem.New(http.StatusNotFound, "not_found",
			"there is no such staged package any more\nfix: run platformd install again")
	}
	return s, nil
}

func (p *packages) discard(id string) error {
	p.mu.Lock()
	s := p.staged[id]
	delete(p.staged, id)
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	s.expiry.Stop()
	return s.Discard()
}

func (p *packages) discardAll() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.staged {
		s.expiry.Stop()
		err = errors.Join(err, s.Discard())
		delete(p.staged, id)
	}
	return err
}

func (d *daemon) discard(_ context.Context, id string) error { return d.packages.discard(id) }

// stage takes a package in. Nothing in it is looked at before it is known whose it is.
func (d *daemon) stage(ctx context.Context, from io.Reader, o admin.StageOptions) (*admin.PackagePlan, error) {
	file, err := d.spool(from)
	if err != nil {
		return nil, packageProblem(err)
	}
	defer file.Close()
	s := &staged{options: o}
	if s.signer, err = d.whose(ctx, file, o); err != nil {
		return nil, packageProblem(err)
	}
	if s.Staged, err = d.packages.Stage(ctx, file, runtime.GOOS+"/"+runtime.GOARCH); err != nil {
		return nil, packageProblem(err)
	}
	if s.signer != nil && s.signer.SHA256 != s.Package().SHA256 {
		err := &archive.Error{Code: "changed_meanwhile", Message: "the package has changed while it was read",
			Fix: "run the command again"}
		return nil, packageProblem(errors.Join(err, s.Discard()))
	}
	d.packages.keep(s)
	plan, err := d.planPackage(ctx, admin.PackageChange{Act: admin.ActInstall, Staged: s.id, Approve: d.expected(s)})
	if err != nil {
		return nil, errors.Join(err, d.packages.discard(s.id))
	}
	return plan, nil
}

// spool keeps what comes in a file that has no name, and is gone with the process.
func (d *daemon) spool(from io.Reader) (*os.File, error) {
	file, err := os.CreateTemp(d.dataDir, ".package-")
	if err != nil {
		return nil, fmt.Errorf("keep the package: %w (fix: make room in %s)", err, d.dataDir)
	}
	err = os.Remove(file.Name())
	if err == nil {
		_, err = io.Copy(file, io.LimitReader(from, archive.DefaultLimits().Total))
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the package: %w (fix: make room in %s)", err, d.dataDir), file.Close())
	}
	return file, nil
}

// whose returns who has signed a package; nil if nobody has, and that is allowed.
func (d *daemon) whose(ctx context.Context, file *os.File, o admin.StageOptions) (*signing.Signer, error) {
	if len(o.Signature) == 0 {
		switch {
		case d.config.Modules.RequireSigned:
			return nil, &signing.Error{Code: "unsigned", Message: "the package has no signature, as modules.requireSigned demands",
				Fix: "platformd sign it with a key that is trusted here"}
		case !o.AllowUnsigned:
			return nil, &signing.Error{Code: "unsigned", Message: "the package has no signature: nobody says whose it is",
				Fix: "put its FILE.minisig beside it; or take it nevertheless, with --allow-unsigned"}
		}
		return nil, nil
	}
	keys, err := signing.TrustIn(d.dataDir).Keys()
	if err != nil {
		return nil, err
	}
	signer, err := signing.Verify(ctx, file, o.Signature, keys)
	if err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return signer, err
}
