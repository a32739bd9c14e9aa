package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// format is the version of the archive's form. A reader refuses what is newer than itself.
const format = 1

// The members of an archive that are the core's.
const (
	contentsName = "backup.json"
	coreFile     = "core.db"
	coreDump     = "core.dump"
	ledgersDump  = "ledgers.dump" // what tells which migrations have been run, of core and modules
)

// maxContents bounds backup.json.
const maxContents = 16 << 20

// contents is backup.json, the first member: what the archive holds.
type contents struct {
	Format    int       `json:"format"`
	Platformd string    `json:"platformd"`
	Backend   string    `json:"backend"`
	Server    int       `json:"server,omitempty"` // PostgreSQL's major version
	CreatedAt time.Time `json:"created_at"`
	Modules   []string  `json:"modules"`
	Members   []member  `json:"members"`
}

// member is a file in the archive.
type member struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// names are the members that the archive must have, and no others: they follow from the modules, so that nothing in an archive
// says where anything is written.
func (c *contents) names() []string {
	if c.Backend == backend.SQLite {
		names := []string{coreFile}
		for _, module := range c.Modules {
			names = append(names, fileOf(module))
		}
		return names
	}
	names := []string{coreDump, ledgersDump}
	for _, module := range c.Modules {
		names = append(names, dumpOf(module))
	}
	return names
}

func fileOf(module string) string { return "modules/" + module + "/" + module + ".db" }

func dumpOf(module string) string { return "modules/" + module + ".dump" }

// parseContents reads backup.json. The version comes first: what is newer may have any form.
func parseContents(text []byte) (*contents, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, fmt.Errorf("%s: %w", contentsName, err)
	}
	if version.Format > format {
		return nil, &tooNewError{version.Format}
	}
	c := &contents{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", contentsName, err)
	}
	return c, c.check()
}

// tooNewError is a backup of a platformd that is newer than this one.
type tooNewError struct{ format int }

// Error implements error.
func (e *tooNewError) Error() string {
	return fmt.Sprintf("it has format %d, and this platformd reads up to %d "+
		"(fix: restore it with the platformd that made it, or a newer one)", e.format, format)
}

func (c *contents) check() error {
	if c.Format < 1 {
		return fmt.Errorf("%s names no format", contentsName)
	}
	if c.Backend != backend.SQLite && c.Backend != backend.PostgreSQL {
		return fmt.Errorf("%s names the unknown backend %q", contentsName, c.Backend)
	}
	for i, module := range c.Modules {
		if !storage.ValidModule(module) || slices.Contains(c.Modules[:i], module) {
			return fmt.Errorf("%s names a module %q, which cannot be, or not twice", contentsName, module)
		}
	}
	var listed []string
	for _, m := range c.Members {
		if m.Size < 0 {
			return fmt.Errorf("%s gives %q a size below zero", contentsName, m.Name)
		}
		listed = append(listed, m.Name)
	}
	if !slices.Equal(listed, c.names()) {
		return errors.New(contentsName + " does not list the members that its modules have")
	}
	return nil
}
