package auth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// sweepEvery is how often what is long over is deleted, and the age of keys looked at.
	sweepEvery = time.Hour
	// usageEvery is how often it is written down when tokens were used.
	usageEvery = time.Minute
	// lastWait bounds the last writing, when the daemon stops.
	lastWait = 5 * time.Second
)

// Run keeps the keys up to date, writes down once a minute when API tokens were used, replaces keys that are 90 days old, and
// deletes what has been over for a month, until ctx ends. What fails is logged and tried again. It is called once.
func (s *Service) Run(ctx context.Context) error {
	keys, used, sweep := time.NewTicker(keyAge), time.NewTicker(usageEvery), time.NewTicker(sweepEvery)
	defer keys.Stop()
	defer used.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-keys.C:
			s.report(ctx, s.keys.fresh(ctx))
		case <-used.C:
			s.report(ctx, s.saveUsage(ctx))
		case <-sweep.C:
			s.report(ctx, s.sweep(ctx))
		case <-ctx.Done():
			return s.stop(ctx)
		}
	}
}

func (s *Service) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.options.Log.Warn("the housekeeping of credentials failed; it will be tried again", "error", err)
	}
}

func (s *Service) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
	defer cancel()
	return s.saveUsage(ctx)
}

// sweep does what is due every hour.
func (s *Service) sweep(ctx context.Context) error {
	before := s.now().Add(-keyLife)
	err := s.keys.rotate(ctx, func(r *keyRow) bool { return r.CreatedAt.Before(before) })
	if failed := s.keys.sweep(ctx); failed != nil {
		err = errors.Join(err, fmt.Errorf("delete old keys: %w", failed))
	}
	return errors.Join(err, s.sweepSessions(ctx))
}
