package daemon

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// What was refused is judged again as what its module publishes now, and by nobody else's manifest.
func TestAdmitAgain(t *testing.T) {
	t.Parallel()
	m := &manifest.Manifest{Name: "blog"}
	m.Events.Publishes = []manifest.Publication{{Type: "blog.made", Version: 1}}
	publishing, err := guard.NewPublishing(m, nil)
	require.NoError(t, err)
	d := with(&catalog.Catalog{Modules: []*catalog.Module{{Manifest: m, Publishing: publishing}, {
		Manifest: &manifest.Manifest{Name: "hello"}, // publishes nothing
	}}})
	for _, c := range []struct{ source, kind, want string }{
		{"/modules/blog", "blog.made", ""},
		{"/platform", "identity.user.deleted", ""},
		{"/modules/blog", "identity.user.deleted", "may not publish"},
		{"/modules/hello", "blog.made", "publishes nothing"},
		{"/modules/gone", "gone.made", "not installed (fix: "},
		{"/platform/operator", "blog.made", "(fix: "},
		{"", "blog.made", "(fix: "},
	} {
		admitted, err := d.admitAgain(bus.Event{
			ID: "1", Source: c.source, Type: c.kind, Version: 1, Time: time.Unix(1, 0).UTC(), Data: []byte(`{}`),
		})
		require.Equal(t, c.source, admitted.Source)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
	}
}

// TestAdmitAroundAnUpgrade: what one of two versions has put into the outbox is published, whichever is installed.
func TestAdmitAroundAnUpgrade(t *testing.T) {
	t.Parallel()
	version := func(types ...string) *catalog.Module {
		m := &manifest.Manifest{Name: "blog"}
		for _, name := range types {
			m.Events.Publishes = append(m.Events.Publishes, manifest.Publication{Type: name, Version: 1})
		}
		publishing, err := guard.NewPublishing(m, nil)
		require.NoError(t, err)
		return &catalog.Module{Manifest: m, Publishing: publishing}
	}
	d := with(&catalog.Catalog{Modules: []*catalog.Module{version("blog.made")}})
	d.live.publishing("blog", version("blog.written").Publishing)
	for name, want := range map[string]bool{"blog.made": true, "blog.written": true, "blog.burnt": false} {
		_, err := d.admit("blog", bus.Event{ID: "1", Type: name, Version: 1, Time: time.Unix(1, 0).UTC(), Data: []byte(`{}`)})
		require.Equal(t, want, err == nil, "%s: %v", name, err)
	}
}

// with is a daemon that knows what is installed, and nothing else.
func with(installed *catalog.Catalog) *daemon {
	d := &daemon{live: newLive(&wishes{})}
	d.catalog.Store(installed)
	return d
}
