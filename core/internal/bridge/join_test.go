package bridge

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestModulesJoinAndLeave: what is published while a module's outbox is nobody's business waits in it.
func TestModulesJoinAndLeave(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		d := p.daemon()
		ids := d.receive(wanted)
		d.run()
		put(p.t, d.db, event("1", ""))
		d.Join(blog)
		requireIDs(p.t, ids, "1")
		require.True(p.t, d.WorksFor(blog))
		require.False(p.t, d.WorksFor(Module{Name: "blog"}), "as something else")

		d.Leave(p.t.Context(), "blog")
		require.False(p.t, d.WorksFor(blog))
		put(p.t, d.db, event("2", ""))
		d.Wake("blog") // nobody hears it
		require.Equal(p.t, []string{"2"}, left(p.t, d.db))
		d.Leave(p.t.Context(), "nobody")
		d.Join(blog)
		requireIDs(p.t, ids, "2")
	})
}

// TestModulesJoinBeforeRun: what joins or leaves before counts as if it had come after.
func TestModulesJoinBeforeRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		d := p.daemon()
		ids := d.receive(wanted)
		put(p.t, d.db, event("1", ""))
		shop := Module{Name: "shop"}
		d.Leave(p.t.Context(), "shop")
		d.Join(blog)
		d.run(shop, Module{Name: "blog"})
		requireIDs(p.t, ids, "1")
		require.True(p.t, d.WorksFor(blog))
		require.False(p.t, d.WorksFor(shop))
	})
}
