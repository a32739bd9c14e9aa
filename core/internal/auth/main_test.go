package auth

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/pgtest"
)

// cluster is where these tests meet PostgreSQL.
var cluster pgtest.Cluster

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit)) }
