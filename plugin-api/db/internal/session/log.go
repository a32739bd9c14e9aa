package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// slowQuery is from when on a query is worth a warning.
const slowQuery = 200 * time.Millisecond

// queryLog is GORM's logger.Interface over hclog. hclog's own level decides what is written; GORM's only whether queries
// that are neither slow nor failed are mentioned at all (Debug()).
type queryLog struct {
	log   hclog.Logger
	level logger.LogLevel
}

func newLogger(log hclog.Logger) *queryLog {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &queryLog{log: log, level: logger.Warn}
}

// LogMode implements logger.Interface.
func (l *queryLog) LogMode(level logger.LogLevel) logger.Interface {
	return &queryLog{log: l.log, level: level}
}

// Info implements logger.Interface.
func (l *queryLog) Info(_ context.Context, format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}

// Warn implements logger.Interface.
func (l *queryLog) Warn(_ context.Context, format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}

// Error implements logger.Interface.
func (l *queryLog) Error(_ context.Context, format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...))
}

// Trace implements logger.Interface. A row that was not found is an answer, not a failure.
func (l *queryLog) Trace(_ context.Context, begin time.Time, query func() (string, int64), err error) {
	elapsed := time.Since(begin)
	failed := err != nil && !errors.Is(err, gorm.ErrRecordNotFound)
	switch {
	case l.level <= logger.Silent:
	case elapsed >= slowQuery:
		l.write(hclog.Warn, "slow query", entry{elapsed, query, err})
	case failed:
		l.write(hclog.Debug, "query failed", entry{elapsed, query, err})
	case l.level >= logger.Info:
		l.write(hclog.Debug, "query", entry{elapsed, query, nil})
	}
}

type entry struct {
	elapsed time.Duration
	query   func() (sql string, rows int64)
	err     error
}

func (l *queryLog) write(level hclog.Level, message string, e entry) {
	if level < l.log.GetLevel() {
		return // building the SQL has a price
	}
	sql, rows := e.query()
	args := []any{"ms", e.elapsed.Milliseconds(), "sql", sql}
	if rows >= 0 {
		args = append(args, "rows", rows)
	}
	if e.err != nil {
		args = append(args, "error", e.err)
	}
	l.log.Log(level, message, args...)
}

// ParamsFilter implements gorm.ParamsFilter: values are people's data, and stay out of the log.
func (l *queryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}
