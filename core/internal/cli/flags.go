package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	of    []string
}

// complete lets the shell offer the words of cmd's flag of that name.
func (c *choice) complete(cmd *cobra.Command, name string) {
	// It fails only if cmd has no such flag; then the tests of completion do, too.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.of, cobra.ShellCompDirectiveNoFileComp))
}

// Set implements pflag.Value.
func (c *choice) Set(text string) error {
	if !slices.Contains(c.of, text) {
		return fmt.Errorf("use one of %s", strings.Join(c.of, ", "))
	}
	*c.value = text
	return nil
}

// String implements pflag.Value.
func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

// Type implements pflag.Value: what --help shows.
func (c *choice) Type() string { return strings.Join(c.of, "|") }

// ttl is a flag that takes what admin.ParseTTL reads.
type ttl struct{ text string }

// Set implements pflag.Value.
func (t *ttl) Set(text string) error {
	if _, err := admin.ParseTTL(text); err != nil {
		return fmt.Errorf("write a number above 0 and its unit (s, m, h or d), for example 30d")
	}
	t.text = text
	return nil
}

// String implements pflag.Value.
func (t *ttl) String() string { return t.text }

// Type implements pflag.Value: what --help shows.
func (t *ttl) Type() string { return "time" }

// since is a flag that takes a time, or how long ago it was.
type since struct{ time time.Time }

// Set implements pflag.Value.
func (s *since) Set(text string) error {
	if ago, err := admin.ParseTTL(text); err == nil {
		s.time = time.Now().Add(-ago)
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("write how long ago, for example 10m, or a time such as 2026-01-31T09:00:00Z")
	}
	s.time = at
	return nil
}

// String implements pflag.Value.
func (s *since) String() string { return "" }

// Type implements pflag.Value: what --help shows.
func (s *since) Type() string { return "time" }
