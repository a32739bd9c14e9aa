package audit

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// What a row costs in transactions of one, of some and of many.
func BenchmarkAppend(b *testing.B) {
	dbs := map[string]storage.Options{
		"sqlite":     {DataDir: filepath.Join(b.TempDir(), "data")},
		"postgresql": {DataDir: b.TempDir(), URL: config.SecretURL(cluster.Database(b, pgtest.CreateRole))},
	}
	for name, options := range dbs {
		store, err := storage.Open(b.Context(), options)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, store.Close()) })
		s, err := New(b.Context(), store.Core(), Options{})
		require.NoError(b, err)
		for _, many := range []int{1, 16, batchSize} {
			b.Run(fmt.Sprint(name, "/", many), func(b *testing.B) {
				rows := make([]row, many)
				for b.Loop() {
					for i := range rows {
						rows[i] = s.stamp(entry(i))
					}
					if err := s.append(b.Context(), rows); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*many), "µs/row")
			})
		}
	}
}
