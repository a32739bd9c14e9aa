package storage

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// closeDatabase takes from everybody what a module must not have, as far as the core may. A daemon that finds it done changes
// nothing: modules can hold the rows of the catalog that it would have to change.
func (s *server) closeDatabase(ctx context.Context) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("LOCK TABLE installation IN EXCLUSIVE MODE").Error; err != nil {
			return err
		}
		if err := makeGroup(tx, s.modules(), ""); err != nil {
			return err
		}
		open, err := openDoors(tx)
		if err != nil {
			return err
		}
		for _, door := range open {
			// What may not be done, or takes too long, is found again by examine.
			_ = tx.Transaction(func(tx *gorm.DB) error { return tx.Exec(door.Statement).Error })
		}
		return s.admitModules(tx)
	})
}

// makeGroup makes a role without login if there is none, within another one, with the core as its member: that lets the core
// end its sessions and take what belongs to it.
func makeGroup(tx *gorm.DB, name, within string) error {
	var exists bool
	if err := tx.Raw("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = ?)", name).Scan(&exists).Error; err != nil || exists {
		return err
	}
	statement := "CREATE ROLE " + ident(name) + " NOLOGIN ROLE CURRENT_USER"
	if within != "" {
		statement += " IN ROLE " + ident(within)
	}
	return tx.Exec(statement).Error
}

// admitModules lets the group of all modules connect, and find its ledgers.
func (s *server) admitModules(tx *gorm.DB) error {
	var may struct{ Connect, Find bool }
	look := func() error {
		return tx.Raw("SELECT has_database_privilege(?, current_database(), 'CONNECT') AS connect, "+
			"has_schema_privilege(?, ?, 'USAGE') AS find", s.modules(), s.modules(), ledgerSchema).Scan(&may).Error
	}
	if err := look(); err != nil {
		return err
	}
	if !may.Find {
		if err := tx.Exec("GRANT USAGE ON SCHEMA " + ledgerSchema + " TO " + ident(s.modules())).Error; err != nil {
			return err
		}
	}
	if may.Connect {
		return nil
	}
	var database string
	if err := tx.Raw("SELECT current_database()").Scan(&database).Error; err != nil {
		return err
	}
	grant := "GRANT CONNECT ON DATABASE " + ident(database) + " TO " + ident(s.modules())
	if err := tx.Exec(grant).Error; err != nil { // without the right to grant it is a warning and no error: look again
		return err
	}
	if err := look(); err != nil {
		return err
	}
	if !may.Connect {
		return fmt.Errorf("modules may not connect to the database (fix: as its owner, %s)", grant)
	}
	return nil
}

// door is something that everybody may do in the database, and a module should not.
type door struct {
	Name      string
	Detail    string
	Statement string // closes it
}

// openDoors lists what is open to everybody.
func openDoors(tx *gorm.DB) ([]door, error) {
	var open []door
	err := tx.Raw(`
SELECT 'temporary tables' AS name, 'every module may fill the disk with temporary tables' AS detail,
       format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', datname) AS statement
  FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
 WHERE datname = current_database() AND grantee = 0 AND privilege_type = 'TEMPORARY'
UNION ALL
SELECT 'connections', 'every role of the server may connect to the database',
       format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', datname)
  FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
 WHERE datname = current_database() AND grantee = 0 AND privilege_type = 'CONNECT'
UNION ALL
SELECT DISTINCT 'schema public', 'every module may use what is in the schema public',
       'REVOKE ALL ON SCHEMA public FROM PUBLIC'
  FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
 WHERE nspname = 'public' AND grantee = 0
UNION ALL
SELECT 'large objects', 'every module may fill the disk with large objects',
       'REVOKE EXECUTE ON FUNCTION ' || string_agg(DISTINCT p.oid::regprocedure::text, ', ') || ' FROM PUBLIC'
  FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner)))
 WHERE pronamespace = 'pg_catalog'::regnamespace AND (proname LIKE 'lo\_%' OR proname IN ('loread', 'lowrite'))
   AND grantee = 0 AND privilege_type = 'EXECUTE'
HAVING count(*) > 0`).Scan(&open).Error
	return open, err
}
