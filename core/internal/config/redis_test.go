package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedisURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://h", "redis://h:6379", "rediss://u:p@h:6380/15", "redis://:p@[::1]:6379/0", "redis://h/", "redis://h?db=3",
		"redis://u:p%2F%40%23%3F@h/1?dial_timeout=3&read_timeout=1m30s&pool_size=20&max_retries=-1&pool_fifo=1&client_name=a%20b",
		"unix:///run/redis.sock", "unix:///run/redis.sock?db=2", "unix://u:p@/run/redis.sock?db=", "rediss://h?skip_verify=true",
	} {
		c, err := load(t, "cache: {url: '"+url+"'}")
		require.NoError(t, err, url)
		require.Equal(t, url, c.Cache.URL.Reveal())
	}
	c, err := load(t, "cache: {url: 'redis://:${PW}@h'}", "PW=hunter2")
	require.NoError(t, err)
	require.Equal(t, "redis://:hunter2@h", c.Cache.URL.Reveal())
}

func TestBadRedisURLs(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"cache:\n  url: http://u:hunter2@h", 2, "bad_url", "`cache.url` is not the URL of a Redis server"},
		{"cache: {url: 'h:6379'}", 1, "bad_url", "is not the URL of a Redis server"},
		{"cache: {url: 'hunter2'}", 1, "bad_url", "is not the URL of a Redis server"},
		{"cache: {url: '127.0.0.1:6379'}", 1, "bad_url", "is not a URL"},
		{"cache: {url: 'redis://'}", 1, "bad_url", "names no server"},
		{"cache: {url: 'redis://:6379'}", 1, "bad_url", "names no server"},
		{"cache: {url: 'redis:h'}", 1, "bad_url", "names no server"},
		{"cache: {url: 'redis://h/x'}", 1, "bad_url", "has a path that is not the number of a database"},
		{"cache: {url: 'redis://h/-1'}", 1, "bad_url", "has a path that is not the number of a database"},
		{"cache: {url: 'redis://h/1/2'}", 1, "bad_url", "has a path that is not the number of a database"},
		{"cache: {url: 'redis://h?db=-1'}", 1, "bad_url", "the option db cannot have this value\nfix: write for example db=0"},
		{"cache: {url: 'redis://h?dial_timout=3s'}", 1, "bad_url", `did you mean "dial_timeout"?`},
		{"cache: {url: 'redis://h?dial_timeout=soon'}", 1, "bad_url", "the option dial_timeout cannot have this value"},
		{"cache: {url: 'redis://h?pool_size=1s'}", 1, "bad_url", "the option pool_size cannot have this value"},
		{"cache: {url: 'redis://h?pool_fifo=yes'}", 1, "bad_url", "the option pool_fifo cannot have this value"},
		{"cache: {url: 'redis://h?password=hunter2'}", 1, "bad_url", "has an unknown option\nfix: use one of: client_name, "},
		{"cache: {url: 'redis://h?skip_verify=true'}", 1, "bad_url", "has an unknown option"},
		{"cache: {url: 'redis://h?a;b'}", 1, "bad_url", "has options that are not NAME=VALUE"},
		{"cache: {url: 'redis://hunter2@h'}", 1, "bad_url", "names a user without a password"},
		{"cache: {url: 'redis://h:99999'}", 1, "out_of_range", "port 99999 is out of range"},
		{"cache: {url: 'redis://h#x'}", 1, "bad_url", "must have no fragment"},
		{"cache: {url: 'unix://run/redis.sock'}", 1, "bad_url", "has something before the path of its unix socket"},
		{"cache: {url: 'unix://'}", 1, "bad_url", "names no unix socket"},
		{"cache: {url: 'unix:///'}", 1, "bad_url", "names no unix socket"},
		{"cache: {url: 'unix:run/redis.sock'}", 1, "bad_url", "names no unix socket"},
		{"cache: {url: 'unix:///run/redis.sock?name=x'}", 1, "bad_url", "has an unknown option"},
	})
}

// A password that was not escaped ends up in another part of the URL; no message repeats that part.
func TestMisplacedRedisPasswords(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"cache: {url: 'redis://u:hunter2%@h'}", 1, "bad_url", "is not a URL\nfix: "},
		{"cache: {url: 'redis://u:x/hunter2@h'}", 1, "bad_url", "is not a URL\nfix: "},
		{"cache: {url: 'redis://u:99999/hunter2@h'}", 1, "bad_url", "in a password, write %2F for /"},
		{"cache: {url: 'redis://u:99999?hunter2@h'}", 1, "bad_url", "in a password, write %3F for ?"},
		{"cache: {url: 'redis://u:99999#hunter2@h'}", 1, "bad_url", "in a password, write %23 for #"},
		{"cache: {url: 'redis://u:99999?hunter2;@h'}", 1, "bad_url", "in a password, write %3F for ?"},
	})
}
