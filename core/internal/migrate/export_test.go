package migrate

import "time"

// Hurry makes locks be waited for, last and be renewed in another time.
func (g *Migrator) Hurry(patience, lease, renewal time.Duration) {
	g.locks.patience, g.locks.lease, g.locks.renewal = patience, lease, renewal
}
