package contestant

import (
	"context"
	"errors"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/load"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// openTwin is the contestant that a guarded route is compared with: the same route, for everybody.
const openTwin = "public"

// twins are one route with the guard and without it, in two daemons, so that neither warms the other up.
func twins() []Contestant {
	return []Contestant{
		{
			Name: openTwin, What: "platformd, a public route (the module on the link)", Subject: scenario.Access, Against: openTwin,
			needs: []string{"link"}, start: startPlatform(openTwin, "link"), prepare: speaks("link"),
		},
		{
			Name: "guarded", What: "platformd, the same route for callers with a permission, by API token", Subject: scenario.Access,
			Against: openTwin, needs: []string{"link"}, start: startPlatform("guarded", "link"), prepare: authorize,
		},
	}
}

// authorize gives the contestant a token, and sends its requests to the route that asks for it.
func authorize(ctx context.Context, s *Site, r *Running) error {
	var err error
	r.Path = handler.Prefix + "/guarded"
	if load.Check(ctx, &scenario.All()[0], r.Target) == nil {
		return errors.New("it serves callers without a token (fix: see scripts/bench/module/module.yaml)")
	}
	if r.Token, err = (&Platform{Name: r.Name}).newToken(ctx, s, "bench.bytes.read"); err != nil {
		return err
	}
	return speaks("link")(ctx, s, r)
}
