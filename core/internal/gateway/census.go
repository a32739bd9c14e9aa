package gateway

import (
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/config"
)

const (
	// networkBits is how much of an IPv6 address tells clients apart: one household or machine has all the rest.
	networkBits = 64
	// reservedDescriptors are kept for modules, databases, logs, and clients that are being refused.
	reservedDescriptors = 512
)

// census counts the clients' connections, in all and by address, and holds them to limits; 0 = no limit. Its methods are
// safe for concurrent use.
type census struct {
	total, perClient int
	exempt           func(netip.Addr) bool // whose connections are those of many clients

	mu      sync.Mutex
	all     int
	clients map[netip.Addr]int // without those that are exempt
}

func newCensus(server config.Server, exempt func(netip.Addr) bool, log hclog.Logger) *census {
	return &census{
		total: withinDescriptors(server.MaxConnections, openFiles(), log), perClient: server.MaxConnectionsPerClient,
		exempt: exempt, clients: map[netip.Addr]int{},
	}
}

// openFiles is how many descriptors the process may have (Go has raised the soft limit to the hard one); 0 = unknown.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}

// withinDescriptors lowers a limit to what the process can hold: each client may take a second descriptor, towards a module.
// Without it the platform could accept clients, but not reach modules, or start any.
func withinDescriptors(limit int, files uint64, log hclog.Logger) int {
	if files == 0 || limit == 0 || uint64(limit) <= files/2 && 2*uint64(limit)+reservedDescriptors <= files {
		return limit
	}
	lowered := 1
	if files > reservedDescriptors+2 {
		lowered = int((files - reservedDescriptors) / 2)
	}
	log.Info("fewer connections are accepted than server.maxConnections says, because the process may open too few files",
		"connections", lowered, "files", files, "fix", "raise the limit of open files (ulimit -n, LimitNOFILE=)")
	return lowered
}

// admit counts a connection in. If a limit keeps it out, it returns the limit's key in config.yaml instead. What it returns
// as client is for leave.
func (c *census) admit(addr netip.Addr) (client netip.Addr, limit string) {
	if addr.IsValid() && !c.exempt(addr) {
		client = networkOf(addr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.total > 0 && c.all >= c.total:
		return client, "server.maxConnections"
	case c.perClient > 0 && client.IsValid() && c.clients[client] >= c.perClient:
		return client, "server.maxConnectionsPerClient"
	}
	c.all++
	if client.IsValid() {
		c.clients[client]++
	}
	return client, ""
}

// leave counts a connection out that admit has counted in.
func (c *census) leave(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if !client.IsValid() {
		return
	}
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
	}
}

// count is how many connections there are.
func (c *census) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

func networkOf(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	network, _ := addr.Prefix(networkBits) // fails for IPv4 only
	return network.Addr()
}

// addressOf is the zero value where clients have no IP address, as on a unix socket.
func addressOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(tcp.IP)
	return addr.Unmap()
}
