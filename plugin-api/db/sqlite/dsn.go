package sqlite

import (
	"net/url"
	"strconv"
)

// dsn is the driver's data source for an absolute path. The path travels as a URI, in which `?`, `#` and `%` are escaped:
// as a plain name they would be cut off or taken for parameters.
func dsn(file string, o Options) string {
	query := url.Values{
		"_busy_timeout": {strconv.FormatInt(o.lockWait().Milliseconds(), 10)},
		"_foreign_keys": {onOff(!o.ForeignKeysOff)},
		"_synchronous":  {"NORMAL"},
		"_txlock":       {"immediate"},
		// Fixed-width UTC text sorts as time does.
		"_time_format": {"sqlite"},
		"_timezone":    {"UTC"},
		// Without it the driver pairs an error of opening with whatever message came last, such as "out of memory".
		"_error_rc": {"1"},
	}
	if o.Durable {
		query.Set("_synchronous", "FULL")
	}
	if o.ReadOnly {
		query.Set("mode", "ro")
		query.Set("_pragma", "trusted_schema(0)")
	} else {
		query.Set("_journal_mode", "WAL")
	}
	return (&url.URL{Scheme: "file", Path: file, RawQuery: query.Encode()}).String()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
