package migrate

import (
	"context"
	"errors"
)

// Hold does work while nobody migrates a module, in whatever process. The context of work ends if that cannot be kept. A
// *LockedError says that somebody goes on migrating it.
func (g *Migrator) Hold(ctx context.Context, module string, work func(ctx context.Context) error) (err error) {
	ctx, release, err := g.locks.acquire(ctx, module)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return work(ctx)
}
