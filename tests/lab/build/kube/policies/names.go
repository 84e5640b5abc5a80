package policies

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	refreshEvery = 5 * time.Second
	// keepFor is how long an address stays allowed after it was last answered: connections outlive answers.
	keepFor = 2 * time.Minute
)

// names keeps the addresses of names. Cilium learns them from what pods ask; here this process asks the same server,
// which gives the same answers on one machine.
type names struct {
	lock    sync.Mutex
	wanted  []string
	servers []netip.AddrPort
	seen    map[string]map[netip.Addr]time.Time
	asked   chan struct{}
	changed func()
	lookup  func(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error)
}

func newNames(changed func()) *names {
	return &names{seen: map[string]map[netip.Addr]time.Time{}, asked: make(chan struct{}, 1), changed: changed, lookup: lookup}
}

// addresses are the current answers.
func (n *names) addresses() map[string][]netip.Addr {
	n.lock.Lock()
	defer n.lock.Unlock()
	found := map[string][]netip.Addr{}
	for name, seen := range n.seen {
		for address := range seen {
			found[name] = append(found[name], address)
		}
		found[name] = sorted(found[name])
	}
	return found
}

// want sets what is asked, and whom; new names are asked for at once.
func (n *names) want(wanted []string, servers []netip.AddrPort) {
	n.lock.Lock()
	defer n.lock.Unlock()
	if slices.Equal(n.wanted, wanted) && slices.Equal(n.servers, servers) {
		return
	}
	n.wanted, n.servers = wanted, servers
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

func (n *names) run(ctx context.Context) {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.asked:
		case <-ticker.C:
		}
		if n.refresh(ctx, time.Now()) {
			n.changed()
		}
	}
}

// refresh asks for every name and returns whether an address came or went.
func (n *names) refresh(ctx context.Context, now time.Time) bool {
	n.lock.Lock()
	wanted, servers := n.wanted, n.servers
	n.lock.Unlock()
	before := n.addresses()
	answers := map[string][]netip.Addr{}
	for _, name := range wanted {
		for _, server := range servers {
			found, err := n.lookup(ctx, server, name)
			if err == nil {
				answers[name] = found
				break
			}
			klog.V(2).InfoS("no answer", "name", name, "server", server, "error", err)
		}
	}
	n.lock.Lock()
	for name, seen := range n.seen {
		for address, last := range seen {
			if now.Sub(last) > keepFor || !slices.Contains(wanted, name) {
				delete(seen, address)
			}
		}
		if len(seen) == 0 {
			delete(n.seen, name)
		}
	}
	for name, found := range answers {
		for _, address := range found {
			if n.seen[name] == nil {
				n.seen[name] = map[netip.Addr]time.Time{}
			}
			n.seen[name][address] = now
		}
	}
	n.lock.Unlock()
	return !equal(before, n.addresses())
}

func equal(a, b map[string][]netip.Addr) bool {
	if len(a) != len(b) {
		return false
	}
	for name, list := range a {
		if !slices.Equal(list, b[name]) {
			return false
		}
	}
	return true
}

func lookup(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.String())
	}}
	found, err := resolver.LookupNetIP(ctx, "ip4", name+".")
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, err
}
