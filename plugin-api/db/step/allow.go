package step

import (
	"errors"
	"strings"
)

// errEnds is what a step gets that tries to end the transaction it runs in.
var errEnds = errors.New("a migration runs in the platform's transaction and may not begin or end one " +
	"(fix: return nil to keep the changes, an error to undo them; nest with tx.Transaction)")

// errRole is what a step gets that tries to become somebody else.
var errRole = errors.New("a migration may not change its role (fix: what it makes belongs to the module without that)")

// statementsOf are the statements of a query: a driver may run several at once.
func statementsOf(query, dialect string) []string {
	all, err := Split(query, dialect)
	if err != nil { // the database will say so, too
		return []string{query}
	}
	texts := make([]string, len(all))
	for i, statement := range all {
		texts[i] = statement.Text
	}
	return texts
}

// Allow says why a statement may not be part of a migration; nil if it may. Within a transaction it must not end that.
func Allow(statement, dialect string, inTransaction bool) error {
	words := wordsOf(statement)
	if inTransaction && endsTransaction(words) {
		return errEnds
	}
	if dialect == PostgreSQL && changesRole(words) {
		return errRole
	}
	return nil
}

func endsTransaction(words [3]string) bool {
	switch words[0] {
	case "BEGIN", "START", "COMMIT", "END", "ABORT":
		return true
	case "PREPARE":
		return words[1] == "TRANSACTION"
	case "ROLLBACK": // back to a savepoint: tx.Transaction does it
		return words[1] != "TO" && (words[1] != "TRANSACTION" && words[1] != "WORK" || words[2] != "TO")
	}
	return false
}

func changesRole(words [3]string) bool {
	switch words[0] {
	case "SET":
		if words[1] == "LOCAL" || words[1] == "SESSION" {
			return words[2] == "ROLE" || words[2] == "AUTHORIZATION" || words[2] == "SESSION"
		}
		return words[1] == "ROLE"
	case "RESET":
		return words[1] == "ROLE" || words[1] == "SESSION" || words[1] == "ALL"
	case "DISCARD":
		return words[1] == "ALL"
	}
	return false
}

func onlyReads(query string) bool {
	switch wordsOf(query)[0] {
	case "SELECT", "PRAGMA", "EXPLAIN", "SHOW", "SAVEPOINT", "RELEASE", "ROLLBACK":
		return true
	}
	return false
}

// wordsOf returns the first three words of a statement in upper case; comments before and between them are skipped.
func wordsOf(statement string) (words [3]string) {
	s := scanner{text: statement, dialect: PostgreSQL}
	for s.at < len(s.text) && len(s.words) < len(words) {
		if s.skipBlank() != nil || s.at >= len(s.text) {
			break
		}
		if s.token() != nil {
			break
		}
	}
	copy(words[:], s.words)
	return words
}

// clip bounds a statement and makes it valid UTF-8, which protobuf demands.
func clip(query string) string {
	if len(query) > maxStatement {
		query = query[:maxStatement] + " ..."
	}
	return strings.ToValidUTF8(query, "?")
}

// FirstWord is the first word of a statement in upper case, such as CREATE.
func FirstWord(statement string) string { return wordsOf(statement)[0] }
