package step_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the process that a test kills.
func TestMain(m *testing.M) {
	if order := os.Getenv(victimEnv); order != "" {
		runVictim(order)
		return
	}
	goleak.VerifyTestMain(m)
}
