package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// coreDatabase opens the core's own database, past the core; its tables are those of the schema.
func (p *platform) coreDatabase() (db *gorm.DB, schema string) {
	p.t.Helper()
	if source, ok := databases.Load(p.dir); ok {
		return connect(p.t, source.(string)), "platformd." //nolint:errcheck // holds no other
	}
	db, err := sqlite.Open(p.t.Context(), filepath.Join(p.dir, "data", "core.db"), sqlite.Options{})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, sqlite.Close(db)) })
	return db, ""
}

// head is what `audit verify` prints to be kept elsewhere.
func (p *platform) head() string {
	p.t.Helper()
	found := regexp.MustCompile(`(?m)^head:?\s+(\d+:[0-9a-f]{64})$`).FindStringSubmatch(p.cli("audit", "verify"))
	require.NotNil(p.t, found, p.cli("audit", "verify"))
	return found[1]
}

// happens does something n times that is written down.
func (p *platform) happens(n int) {
	p.t.Helper()
	for range n {
		p.login(adminEmail, goodWords)
	}
}

// TestAuditWasTamperedWith: who changes a row is found out by the chain alone, who makes it anew by the head that was noted down.
func TestAuditWasTamperedWith(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		p := launch(t, newDirOn(t, backend, "hello"), options{})
		p.awaitReady()
		p.setUp()
		p.happens(2)
		noted := p.head()
		p.happens(2)
		require.NotEqual(t, noted, p.head())
		require.Contains(t, p.cli("audit", "verify", "--expect", noted), "nothing was changed")
		_, stderr, code := p.tryCLI("audit", "verify", "--expect", noted[:len(noted)-1])
		require.NotZero(t, code)
		require.Contains(t, stderr, "is not SEQ:HASH")

		core, schema := p.coreDatabase()
		edit := "UPDATE " + schema + "audit_rows SET actor_name = ? WHERE seq = 2"
		var name string
		require.NoError(t, core.Raw("SELECT actor_name FROM "+schema+"audit_rows WHERE seq = 2").Scan(&name).Error)
		require.NoError(t, core.Exec(edit, "Somebody else").Error)
		for _, args := range [][]string{{"audit", "verify"}, {"audit", "verify", "--expect", noted}} {
			p.broken("row 2: its content is not what its hash was made of", args...)
		}
		require.NoError(t, core.Exec(edit, name).Error)
		require.Contains(t, p.cli("audit", "verify", "--expect", noted), "nothing was changed")

		nothing := map[string]string{onSQLite: "zeroblob(32)", onPostgreSQL: "decode(repeat('00', 32), 'hex')"}[backend]
		require.NoError(t, core.Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("DELETE FROM " + schema + "audit_rows").Error; err != nil {
				return err
			}
			return tx.Exec("UPDATE " + schema + "audit_head SET seq = 0, hash = " + nothing).Error
		}))
		require.Contains(t, p.cli("audit", "verify"), "nothing was changed", "a new chain is a chain")
		p.broken("is missing: the chain ends at", "audit", "verify", "--expect", noted)
		p.happens(8) // it grows past what was noted down
		require.Contains(t, p.cli("audit", "verify"), "nothing was changed")
		p.broken("its hash is not the expected one", "audit", "verify", "--expect", noted)
		require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/Ada", "", "").status)
	})
}

// broken wants a command to find the audit log changed.
func (p *platform) broken(why string, args ...string) {
	p.t.Helper()
	_, stderr, code := p.tryCLI(args...)
	require.Equal(p.t, 7, code, "%s: %s", fmt.Sprint(args), stderr)
	require.Contains(p.t, stderr, why)
	require.Contains(p.t, stderr, "fix: ")
}
