package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// source is one of the things that make a module what it is.
type source struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// note remembers content that the platform has read of the module.
func (m *Module) note(name string, content []byte) {
	sum := sha256.Sum256(content)
	m.sources = append(m.sources, source{Name: name, SHA256: hex.EncodeToString(sum[:])})
}

// takeRevision is called when everything else has been read.
func (m *Module) takeRevision() error {
	content, err := json.Marshal(struct {
		Manifest   *manifest.Manifest
		Executable string
		Sources    []source
	}{m.Manifest, m.SHA256, m.sources})
	if err != nil {
		return fmt.Errorf("compute the revision of %s: %w", m.Manifest.Name, err)
	}
	sum := sha256.Sum256(content)
	m.Revision = hex.EncodeToString(sum[:])
	return nil
}

// checkMigrations reads SQL files as they would be read for each kind of database; what is in them is read again when they run.
func (m *Module) checkMigrations(dir string) error {
	if m.Manifest.Migrations != manifest.MigrationsSQL {
		return nil
	}
	if err := sqlfiles.Check(dir); err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	for _, dialect := range []string{backend.SQLite, backend.PostgreSQL} {
		files, err := sqlfiles.Load(dir, dialect)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Dir, err)
		}
		declared, err := json.Marshal(files)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Dir, err)
		}
		m.note("migrations for "+dialect, declared)
	}
	return nil
}
