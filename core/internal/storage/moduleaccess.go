package storage

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// OpenModule opens a module's database for the core to read and change rows in it, over one connection and with no more rights
// than the module's own. On SQLite the file must be there, else the error matches fs.ErrNotExist: the module's start makes it.
// What a module has in its database is its own to say: nothing that is read there may be trusted, and every query needs a
// deadline. The function that is returned gives all back. What the core changes there does not wait for the disk: it is for what
// is done again if a power cut, or a crash of the server, undoes it.
func (s *Storage) OpenModule(
	ctx context.Context, module string, log hclog.Logger,
) (*gorm.DB, func(context.Context) error, error) {
	if place := s.Module(module); place.Driver == backend.SQLite {
		db, err := openModuleFile(ctx, place.Source, sqlite.Options{Log: log, Alone: true}, func() {})
		if err != nil {
			return nil, nil, err
		}
		return db, func(context.Context) error { return backend.Close(db) }, nil
	}
	login, err := s.Login(ctx, module, ReadWrite)
	if err != nil {
		return nil, nil, err
	}
	db, err := postgres.Open(ctx, login.Database.Source, postgres.Options{
		Log: log, MaxConns: 1, RootCertificates: login.Database.RootCertificates,
		Settings: map[string]string{"synchronous_commit": "off"},
	})
	if err != nil {
		return nil, nil, errors.Join(err, login.Close(ctx))
	}
	return db, func(ctx context.Context) error { return errors.Join(backend.Close(db), login.Close(ctx)) }, nil
}
