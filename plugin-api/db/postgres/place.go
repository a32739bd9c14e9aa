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

// Provision makes the place and gives its roles what is theirs. The schemas belong to the role that tx is of, which must be a
// member of Owner: so no module can drop or rename its own. Without roles, nobody else gets anything. It must not run twice at
// once.
//
// What is there already is not made or granted again: a module can hold the catalog's rows that this would change.
func Provision(tx *gorm.DB, p Place) error {
	if err := p.makeSchemas(tx); err != nil {
		return fmt.Errorf("make the schema of module %s: %w", p.Schema, err)
	}
	if err := ledger.Ensure(tx, p.Ledger()); err != nil {
		return err
	}
	if p.Owner == "" {
		return nil
	}
	if err := p.grant(tx); err != nil {
		return fmt.Errorf("give module %s what is its own: %w", p.Schema, err)
	}
	return nil
}

func (p Place) makeSchemas(tx *gorm.DB) error {
	for _, schema := range []string{LedgerSchema, p.Schema} {
		var exists bool
		if err := tx.Raw("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = ?)", schema).Scan(&exists).Error; err != nil {
			return err
		}
		if exists {
			continue
		}
		if err := tx.Exec("CREATE SCHEMA " + Quote(schema)).Error; err != nil {
			return err
		}
	}
	return nil
}

// missing are the statements that give the roles what they lack.
const missing = `
WITH place AS (SELECT CAST(@schema AS text) AS s, CAST(@owner AS text) AS owner, CAST(@rw AS text) AS rw,
                      CAST(@ledgers AS text) AS l)
SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', s, owner) FROM place
 WHERE NOT (has_schema_privilege(owner, s, 'USAGE') AND has_schema_privilege(owner, s, 'CREATE'))
UNION ALL
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', s, rw) FROM place WHERE NOT has_schema_privilege(rw, s, 'USAGE')
UNION ALL
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', l, owner) FROM place WHERE NOT has_schema_privilege(owner, l, 'USAGE')
UNION ALL
SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', l, s, owner) FROM place
 WHERE EXISTS (SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
               WHERE NOT has_table_privilege(owner, format('%I.%I', l, s), privilege))`

func (p Place) grant(tx *gorm.DB) error {
	var statements []string
	err := tx.Raw(missing, map[string]any{
		"schema": p.Schema, "owner": p.Owner, "rw": p.ReadWrite, "ledgers": LedgerSchema,
	}).Scan(&statements).Error
	if err != nil {
		return err
	}
	byDefault := "ALTER DEFAULT PRIVILEGES FOR ROLE " + Quote(p.Owner) + " IN SCHEMA " + Quote(p.Schema) + " GRANT "
	return run(tx, append(statements,
		byDefault+"SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+Quote(p.ReadWrite),
		byDefault+"USAGE, SELECT, UPDATE ON SEQUENCES TO "+Quote(p.ReadWrite),
	)...)
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
