package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBrokerURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"amqp://h", "amqp://h:5672", "amqps://u:p@h:5671/vhost", "amqp://u:p%2F%40@[::1]/", "amqp://h/%2f", "amqp://h/a%2Fb",
		"amqps://h?cacertfile=/ca.pem&certfile=/c.pem&keyfile=/k.pem&server_name_indication=x",
	} {
		c, err := load(t, "events: {url: '"+url+"'}")
		require.NoError(t, err, url)
		require.Equal(t, url, c.Events.URL.Reveal())
	}
	c, err := load(t, "events: {url: 'amqp://u:${PW}@h'}", "PW=hunter2")
	require.NoError(t, err)
	require.Equal(t, "amqp://u:hunter2@h", c.Events.URL.Reveal())
}

func TestBadBrokerURLs(t *testing.T) {
	t.Parallel()
	checkBadFiles(t, []badFile{
		{"events:\n  url: http://u:hunter2@h", 2, "bad_url", "`events.url` is not the URL of a RabbitMQ server"},
		{"events: {url: 'hunter2'}", 1, "bad_url", "is not the URL of a RabbitMQ server"},
		{"events: {url: '127.0.0.1:5672'}", 1, "bad_url", "is not a URL"},
		{"events: {url: 'amqp://'}", 1, "bad_url", "names no server"},
		{"events: {url: 'amqp://:5672'}", 1, "bad_url", "names no server"},
		{"events: {url: 'amqp://h:99999'}", 1, "out_of_range", "port 99999 is out of range"},
		{"events: {url: 'amqp://h#x'}", 1, "bad_url", "must have no fragment"},
		{"events: {url: 'amqp://h/a/b'}", 1, "bad_url", "has more than a virtual host"},
		{"events: {url: 'amqp://h?heartbeat=1'}", 1, "bad_url", "has an unknown option"},
		{"events: {url: 'amqp://h?password=hunter2'}", 1, "bad_url", "has an unknown option\nfix: use one of: cacertfile, "},
		{"events: {url: 'amqp://h?a;b'}", 1, "bad_url", "has options that are not NAME=VALUE"},
	})
}
