package postgres

import (
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// LedgerSchema holds the ledgers of all modules of a database. It belongs to the core, or a module could replace its ledger by a
// view, whose functions would run as whoever reads it.
const LedgerSchema = "platformd_ledgers"

// Place is where a module's data lies in a database, and the roles that reach it. The roles exist already.
type Place struct {
	Schema    string
	Owner     string // makes tables: for migrations
	ReadWrite string // uses them: for the module at work
}

// Ledger is the table of the place's migrations.
func (p Place) Ledger() string { return LedgerSchema + "." + p.Schema }

// Provision makes the place and gives its roles what is theirs, as far as that is not so yet. The schemas belong to the role
// that tx is of, which must be a member of Owner: so no module can drop or rename its own. It must not run twice at once.
func Provision(tx *gorm.DB, p Place) error {
	if err := p.makeSchemas(tx); err != nil {
		return fmt.Errorf("make the schema of module %s: %w", p.Schema, err)
	}
	if err := ledger.Ensure(tx, p.Ledger()); err != nil {
		return err
	}
	if err := p.grant(tx); err != nil {
		return fmt.Errorf("give module %s what is its own: %w", p.Schema, err)
	}
	return nil
}

func (p Place) makeSchemas(tx *gorm.DB) error {
	return run(tx,
		"CREATE SCHEMA IF NOT EXISTS "+Quote(LedgerSchema),
		"CREATE SCHEMA IF NOT EXISTS "+Quote(p.Schema),
	)
}

func (p Place) grant(tx *gorm.DB) error {
	schema, owner, readWrite := Quote(p.Schema), Quote(p.Owner), Quote(p.ReadWrite)
	ledgerTable := Quote(LedgerSchema) + "." + schema
	byDefault := "ALTER DEFAULT PRIVILEGES FOR ROLE " + owner + " IN SCHEMA " + schema + " GRANT "
	return run(tx,
		"GRANT USAGE, CREATE ON SCHEMA "+schema+" TO "+owner,
		"GRANT USAGE ON SCHEMA "+schema+" TO "+readWrite,
		"GRANT USAGE ON SCHEMA "+Quote(LedgerSchema)+" TO "+owner,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON "+ledgerTable+" TO "+owner,
		byDefault+"SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+readWrite,
		byDefault+"USAGE, SELECT, UPDATE ON SEQUENCES TO "+readWrite,
	)
}

// run executes statements in order.
func run(tx *gorm.DB, statements ...string) error {
	for _, statement := range statements {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}

// Quote writes a name as SQL does, whatever is in it.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Literal writes a text as SQL does where no parameter can stand, such as in CREATE ROLE. A backslash stays itself, as
// standard_conforming_strings is on in every version that can still be had.
func Literal(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }
