package storage

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// The schemas of the core; modules' schemas have the names of the modules.
const (
	coreSchema   = "platformd"
	ledgerSchema = postgres.LedgerSchema
)

// moduleName is what manifests allow; its length leaves room for what is put around it in the 63 bytes of a role's name.
var moduleName = regexp.MustCompile(`^[a-z][a-z0-9_]{1,40}$`)

// checkSchemaName keeps modules away from the schemas of the server, of the core, and of everybody.
func checkSchemaName(module string) error {
	reserved := strings.HasPrefix(module, "pg_") || strings.HasPrefix(module, coreSchema) ||
		module == "public" || module == "information_schema"
	if reserved || !moduleName.MatchString(module) {
		return fmt.Errorf("a schema cannot have the name %q (fix: give the module another name)", module)
	}
	return nil
}

// names are those of one installation's roles: roles belong to the whole server, on which there may be others.
type names struct{ installation string }

// modules is the group of all modules' groups.
func (n names) modules() string { return "pd_" + n.installation + "_modules" }

// group is the role that all logins of this access share.
func (n names) group(module string, access Access) string {
	return fmt.Sprintf("pd_%s_%s_%s", n.installation, module, access)
}

// login is a new role for one process.
func (n names) login(module string) string {
	return fmt.Sprintf("pd_%s_%s_%s", n.installation, module, randomHex(4))
}

// randomHex is n random bytes as text.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ident quotes an SQL identifier.
func ident(name string) string { return postgres.Quote(name) }

// literal quotes an SQL text; statements about roles take no parameters.
func literal(text string) string { return postgres.Literal(text) }

// ledgerOf is the ledger of a module. The core owns it: a module that owned it could put a view there, which the core would run
// with its own rights.
func ledgerOf(module string) string { return postgres.Place{Schema: module}.Ledger() }
