package config

import (
	"fmt"
	"regexp"
	"strings"
)

// reference is ${VAR} as we understand it.
var reference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// expand replaces ${VAR} by the variable's value and $$ by $. Any other $ stands for itself.
func expand(text string, env map[string]string) (string, *fault) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		switch {
		case !found:
			return out.String(), nil
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			value, size, bad := lookup(rest, env)
			if bad != nil {
				return "", bad
			}
			out.WriteString(value)
			text = rest[size:]
		default:
			out.WriteByte('$')
			text = rest
		}
	}
}

// lookup returns the value of the {VAR} that rest begins with, and how many bytes {VAR} takes.
func lookup(rest string, env map[string]string) (value string, size int, bad *fault) {
	at := reference.FindStringIndex("$" + rest)
	if at == nil || at[0] != 0 {
		return "", 0, &fault{": ${ must be followed by the name of an environment variable and }",
			"write ${NAME}, or $${ for a literal ${", "bad_reference"}
	}
	name := rest[1 : at[1]-2]
	value, set := env[name]
	if !set {
		return "", 0, &fault{fmt.Sprintf(": the environment variable %s is not set", name),
			fmt.Sprintf("set %s, or write $${%s} if the text itself is meant", name, name), "unset_variable"}
	}
	return value, at[1] - 1, nil
}

// literal is the inverse of expand: text that expands to itself.
func literal(text string) string {
	if strings.Contains(text, "${") || strings.Contains(text, "$$") {
		return strings.ReplaceAll(text, "$", "$$")
	}
	return text
}
