package db_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the module that a test kills.
func TestMain(m *testing.M) {
	if order := os.Getenv(victimEnv); order != "" {
		runVictim(order)
		return
	}
	// GORM's cache of prepared statements has a goroutine that nothing ends. The tests use it to see that it stays in the
	// transaction; the product does not.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
}
