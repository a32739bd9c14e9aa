package admin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseTTL reads how long something is valid: what time.ParseDuration reads, or whole days such as "30d". It must be more
// than nothing; what is too long is for auth to say.
func ParseTTL(text string) (time.Duration, error) {
	ttl, err := parseTTL(text)
	if err != nil || ttl <= 0 {
		return 0, fmt.Errorf("%q is not a time to live\nfix: write a number above 0 and its unit (s, m, h or d), for example 30d", text)
	}
	return ttl, nil
}

func parseTTL(text string) (time.Duration, error) {
	digits, inDays := strings.CutSuffix(text, "d")
	if !inDays {
		return time.ParseDuration(text)
	}
	const day = 24 * time.Hour
	days, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	if days > int64(math.MaxInt64/day) {
		return 0, strconv.ErrRange
	}
	return time.Duration(days) * day, nil
}

// SplitFix takes apart the two ways in which a message says what to do next: a last line "fix: …", or "(fix: …)" in it. fix
// is empty if there is neither.
func SplitFix(message string) (what, fix string) {
	message = strings.TrimSpace(message)
	if before, after, found := cutLast(message, "\nfix: "); found && !strings.Contains(after, "\n") {
		return strings.TrimSpace(before), after
	}
	before, after, found := cutLast(message, "(fix: ")
	end := closing(after)
	if !found || end < 0 {
		return message, ""
	}
	return strings.TrimSpace(strings.TrimSpace(before) + after[end+1:]), after[:end]
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// closing returns where the bracket that is open at the beginning of text closes, -1 if it does not.
func closing(text string) int {
	depth := 1
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return i
		}
	}
	return -1
}
