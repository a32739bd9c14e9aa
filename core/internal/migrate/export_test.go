package migrate

import "time"

// Patience is how long a lock is waited for, unless somebody hurries.
const Patience = patience

// Hurry makes locks be waited for, last and be renewed in another time.
func (g *Migrator) Hurry(patience, lease, renewal time.Duration) {
	g.locks.patience, g.locks.lease, g.locks.renewal = patience, lease, renewal
}
