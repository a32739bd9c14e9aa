package e2e

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// tally is how many effects a module has, and of how many events.
type tally struct{ Count, Distinct, Inversions int }

func (c *chaos) tally(module string) (got tally) {
	answer, err := c.p.Load().try(http.MethodGet, "/api/v1/"+module+"/tally", "", "")
	if err == nil && answer.status == http.StatusOK {
		_ = json.Unmarshal([]byte(answer.body), &got)
	}
	return got
}

// settle waits until each of so many events has had its effect in each module, or is a dead letter there: that is the end of what
// was cut off twenty times, which one daemon after another may be killed over, even after the effect. It checks that none has had
// one twice, nor out of order, and that a dead letter has its effect when it is retried, late. It returns how many there were.
func (c *chaos) settle(names []string, want int) (died int) {
	c.t.Helper()
	for _, name := range names {
		got := c.awaitEffects(name, func() int { return want - len(c.lettersOf(name)) })
		require.Equal(c.t, tally{got.Distinct, got.Distinct, 0}, got, name)
		died += len(c.lettersOf(name))
	}
	if died == 0 {
		return 0
	}
	for _, letter := range c.p.Load().deadLetters() {
		require.Contains(c.t, []string{"abandoned", "attempts"}, letter.Reason, letter)
	}
	c.p.Load().cli("dlq", "retry", "--all")
	for _, name := range names {
		got := c.awaitEffects(name, func() int { return want })
		require.Equal(c.t, tally{want, want, got.Inversions}, got, name)
	}
	c.p.Load().await("an empty queue of dead letters", func() bool { return len(c.p.Load().deadLetters()) == 0 })
	return died
}

// awaitEffects waits for as many effects as wanted says, as long as there are new ones.
func (c *chaos) awaitEffects(name string, wanted func() int) (got tally) {
	c.t.Helper()
	// To count the effects of a hundred thousand events keeps the module from having others.
	again := time.NewTicker(time.Duration(count(50, 3000)) * time.Millisecond)
	defer again.Stop()
	most, since := 0, time.Now()
	for {
		if got = c.tally(name); got.Distinct >= wanted() {
			return got
		}
		if got.Distinct > most {
			most, since = got.Distinct, time.Now()
		}
		if time.Since(since) > 5*patience {
			c.t.Fatalf("%s has %+v of %d, and gets no more\n%s", name, got, wanted(), c.p.Load().cli("events", "pending"))
		}
		<-again.C
	}
}

func (c *chaos) lettersOf(module string) []admin.DeadLetter {
	c.t.Helper()
	page, err := c.p.Load().admin().DeadLetters(c.t.Context(), admin.LetterFilter{Module: module}, 499, "")
	require.NoError(c.t, err)
	return page.Items
}
