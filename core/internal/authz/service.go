package authz

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
)

// Staleness bounds for how long a replica goes on to allow what another one has taken away. Where it cannot keep the bound, it
// allows nothing.
const Staleness = 2 * time.Second

const (
	interval    = Staleness / 4 // between two looks at the version
	versionWait = time.Second   // for its answer
	loadWait    = 10 * time.Second
)

// Options of a Service. Registry must be set.
type Options struct {
	// Registry knows the permissions of the modules. New adds those of the platform.
	Registry *Registry
	// Log hears when decisions cannot be kept current; nil discards it.
	Log hclog.Logger
	// Active picks those of the users who can sign in: the others do not count when the last admin is to be kept. It must ask
	// through tx, and nothing else. nil: all of them can.
	Active func(tx *gorm.DB, users []string) ([]string, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service keeps roles, groups and who has them, and decides. It is safe for concurrent use. The zero value allows nothing.
//
// Decisions are made from an index in memory, so that they cost no query. What is changed through this Service is in its index
// when the call returns, even if ctx has ended meanwhile; on other replicas it is within Staleness, where Run runs. If a change
// is stored and cannot be read back, nothing is allowed until it can.
type Service struct {
	Options
	db *gorm.DB

	loading  sync.Mutex // one at a time reads the database, so that what is read later is newer
	building sync.Mutex // guards changes of view; nobody waits for the database meanwhile
	view     atomic.Pointer[view]
}

// view is an index and when it was last known to be right: one value, so that nobody takes an old index for a new one.
type view struct {
	index *index
	at    time.Time // zero: it is known to be wrong
}

// New returns the service over the core's database, whose tables it makes or brings up to date.
func New(ctx context.Context, db *gorm.DB, o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := storage.MigrateCore(db.WithContext(ctx), "authz", steps()...); err != nil {
		return nil, err
	}
	if err := o.Registry.Set(PlatformModule, PlatformPermissions()); err != nil {
		return nil, err
	}
	s := &Service{Options: o, db: db}
	o.Registry.watch(s.recompile)
	return s, s.Refresh(ctx)
}

// Run keeps the index current until ctx ends. It is called once.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	return s.follow(ctx, ticker.C)
}

func (s *Service) follow(ctx context.Context, tick <-chan time.Time) error {
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
		switch err := s.Refresh(ctx); {
		case err == nil && away:
			away = false
			s.Log.Info("decisions about access are current again")
		case err != nil && !away && ctx.Err() == nil:
			away = true
			s.Log.Error("decisions about access cannot be kept current; without an answer nothing is allowed",
				"after", Staleness, "error", err)
		}
	}
}

// Refresh brings the index up to date with what has been committed. Run does so all the time; who has used AssignTx or another
// Tx function calls it after the commit.
func (s *Service) Refresh(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	return s.refresh(ctx)
}

// settle refreshes after a change, whatever became of it: an error of a commit does not mean that nothing was changed. What
// cannot be read back must not be contradicted, so nothing is allowed until it can.
func (s *Service) settle(ctx context.Context) {
	s.loading.Lock()
	defer s.loading.Unlock()
	if err := s.refresh(context.WithoutCancel(ctx)); err != nil {
		s.Log.Error("a change of access cannot be read back; nothing is allowed until it can", "error", err)
		s.store(func(now view) view { return view{index: now.index} })
	}
}

func (s *Service) refresh(ctx context.Context) error {
	at := s.Now() // before the question: the answer may take its time
	v, err := s.askVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the version of roles and groups: %w", err)
	}
	if now := s.view.Load(); now != nil && now.index.tables.version == v {
		s.store(func(now view) view { return view{now.index, at} })
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	read, err := load(ctx, s.db)
	if err != nil {
		return fmt.Errorf("read roles and groups: %w", err)
	}
	people := newPeople(read)
	s.store(func(view) view { return view{newIndex(read, people, s.Registry.All()), at} })
	return nil
}

func (s *Service) askVersion(ctx context.Context) (version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	return readVersion(s.db.WithContext(ctx))
}

// recompile makes the index follow the registry.
func (s *Service) recompile() {
	s.store(func(now view) view {
		if now.index == nil {
			return now
		}
		return view{newIndex(now.index.tables, now.index.people, s.Registry.All()), now.at}
	})
}

// store swaps the view. next must not wait for anything. The registry is read in it, so that the last swap has seen the last
// change.
func (s *Service) store(next func(view) view) {
	s.building.Lock()
	defer s.building.Unlock()
	var now view
	if have := s.view.Load(); have != nil {
		now = *have
	}
	if now = next(now); now.index != nil {
		s.view.Store(&now)
	}
}

// current is the index, or ErrStale. The wall clock counts as well: the other one stands still while a machine sleeps.
func (s *Service) current() (*index, error) {
	now := s.view.Load()
	if now == nil {
		return nil, ErrStale
	}
	clock := s.Now()
	if clock.Sub(now.at) > Staleness || clock.Round(0).Sub(now.at) > Staleness {
		return nil, ErrStale
	}
	return now.index, nil
}

// change runs work in a transaction of its own. act says what it is, for people.
func (s *Service) change(ctx context.Context, act string, work func(tx *gorm.DB) error) error {
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return changeIn(tx, work) })
	s.settle(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

func changeIn(tx *gorm.DB, work func(tx *gorm.DB) error) error {
	if err := bump(tx); err != nil {
		return err
	}
	return work(tx)
}

// keepAdmin runs work, and undoes it if it leaves nobody with the role admin.
func (s *Service) keepAdmin(tx *gorm.DB, work func(tx *gorm.DB) error) error {
	before, err := s.admins(tx)
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return err
	}
	after, err := s.admins(tx)
	if err == nil && len(before) > 0 && len(after) == 0 {
		return ErrLastAdmin
	}
	return err
}

// admins are the users who have the role, themselves or through a group, and can sign in.
func (s *Service) admins(tx *gorm.DB) (users []string, err error) {
	err = tx.Raw("SELECT subject FROM authz_assignments WHERE role = ? AND kind = ? "+
		"UNION SELECT user_id FROM authz_members JOIN authz_assignments ON role = ? AND kind = ? AND subject = group_name",
		Admin, kindUser, Admin, kindGroup).Scan(&users).Error
	if err != nil || s.Active == nil || len(users) == 0 {
		return users, err
	}
	return s.Active(tx, users)
}

// EnsureNotLastAdmin returns ErrLastAdmin if the user is the only one left with the role admin. Ask it before a user is disabled
// or deleted; see EnsureNotLastAdminTx.
func (s *Service) EnsureNotLastAdmin(ctx context.Context, user string) error {
	return s.ensureNotLastAdmin(s.db.WithContext(ctx), user)
}

// EnsureNotLastAdminTx is EnsureNotLastAdmin in the transaction that will disable or delete the user. It keeps every other change
// of access waiting until tx ends: two admins cannot remove each other at the same moment.
func (s *Service) EnsureNotLastAdminTx(tx *gorm.DB, user string) error {
	return changeIn(tx, func(tx *gorm.DB) error { return s.ensureNotLastAdmin(tx, user) })
}

func (s *Service) ensureNotLastAdmin(db *gorm.DB, user string) error {
	users, err := s.admins(db)
	switch {
	case err != nil:
		return fmt.Errorf("find the admins: %w", err)
	case len(users) == 1 && users[0] == user:
		return ErrLastAdmin
	}
	return nil
}
