package policies

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// httpsPort is where AKS's API server and Azure listen. The lab's listen elsewhere: a rule for this port means them.
const httpsPort = 443

var protocols = []string{"TCP", "UDP", "SCTP"}

// compile works out what may flow.
func compile(state State) RuleSet {
	set := RuleSet{PodRanges: state.PodRanges, Nodes: sorted(state.Nodes)}
	read, warnings := readPolicies(state)
	set.Warnings = warnings
	for _, endpoint := range state.Endpoints {
		if endpoint.StandIn {
			continue
		}
		set.Pods = append(set.Pods, endpoint.Address)
		for _, direction := range []Direction{Egress, Ingress} {
			if isolation := isolate(state, read, endpoint, direction, &set.Warnings); isolation != nil {
				set.Isolated = append(set.Isolated, *isolation)
			}
		}
	}
	set.Pods = sorted(set.Pods)
	slices.SortFunc(set.Isolated, func(a, b Isolation) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Direction, b.Direction))
	})
	slices.Sort(set.Warnings)
	set.Warnings = slices.Compact(set.Warnings)
	return set
}

// readPolicies reads every policy. One that cannot be read cuts its namespace off: what it meant to refuse is not known.
func readPolicies(state State) ([]policy, []string) {
	var found []policy
	var warnings []string
	keep := func(read policy, err error, name, namespace string) {
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s is not understood, no pod of %s gets through: %v", name, namespace, err))
			read = policy{
				name:    name,
				selects: func(endpoint Endpoint) bool { return endpoint.Namespace == namespace },
				rules:   map[Direction][]rule{Ingress: nil, Egress: nil},
			}
		}
		found = append(found, read)
	}
	for _, object := range state.Policies {
		read, err := fromKubernetes(object, state.Namespaces)
		keep(read, err, "networkpolicy "+object.Namespace+"/"+object.Name, object.Namespace)
	}
	for _, object := range state.CiliumPolicies {
		read, err := fromCilium(object, state.Namespaces)
		keep(read, err, "ciliumnetworkpolicy "+object.Namespace+"/"+object.Name, object.Namespace)
	}
	slices.SortFunc(found, func(a, b policy) int { return cmp.Compare(a.name, b.name) })
	return found, warnings
}

func isolate(state State, policies []policy, endpoint Endpoint, direction Direction, warnings *[]string) *Isolation {
	isolation := Isolation{Endpoint: endpoint.Namespace + "/" + endpoint.Name, Address: endpoint.Address, Direction: direction}
	var resolvable []namePattern
	isolated := false
	for _, one := range policies {
		if one.selects(endpoint) {
			resolvable = append(resolvable, one.resolvable...)
		}
	}
	for _, one := range policies {
		rules, isolates := one.rules[direction]
		if !isolates || !one.selects(endpoint) {
			continue
		}
		isolated = true
		for _, item := range rules {
			for _, allowed := range allow(state, endpoint, direction, item, resolvable, one.name, warnings) {
				allowed.Policy = one.name
				isolation.Rules = append(isolation.Rules, allowed)
			}
		}
	}
	if !isolated {
		return nil
	}
	return &isolation
}

// allow turns one rule into what it allows one endpoint.
func allow(
	state State, endpoint Endpoint, direction Direction, item rule, resolvable []namePattern, policyName string, warnings *[]string,
) []Rule {
	var found []Rule
	// Named ports are those of the pod that is connected to, on ingress this one.
	fixed := resolvePorts(item.ports, endpoint)
	if direction == Egress {
		fixed = resolvePorts(item.ports, Endpoint{})
	}
	put := func(other Peer, ports []Ports) {
		if len(item.ports) == 0 || len(ports) > 0 {
			found = append(found, Rule{Peer: other, Ports: ports})
		}
	}
	for _, other := range item.peers {
		switch {
		case other.anybody, other.entity == "all":
			put(Peer{Anybody: true}, fixed)
			if direction == Egress && named(item.ports) {
				putNamed(put, state.Endpoints, item.ports)
			}
		case other.endpoints != nil:
			chosen := where(state.Endpoints, other.endpoints)
			if direction == Egress && named(item.ports) {
				putNamed(put, chosen, item.ports)
			} else if len(chosen) > 0 {
				put(Peer{Addresses: addresses(chosen)}, fixed)
			}
		case other.block != nil:
			putOutside(put, state, []netip.Prefix{other.block.within}, other.block.except, fixed)
		case other.name != "":
			if !slices.ContainsFunc(resolvable, func(pattern namePattern) bool { return pattern.covers(other.name) }) {
				*warnings = append(*warnings, fmt.Sprintf("%s names %s, but no rule lets its pods resolve that by rules.dns", policyName, other.name))
				continue
			}
			var ranges []netip.Prefix
			for _, address := range sorted(state.Names[other.name]) {
				ranges = append(ranges, netip.PrefixFrom(address, address.BitLen()))
			}
			putOutside(put, state, ranges, nil, fixed)
		default:
			putEntity(put, state, other.entity, fixed)
		}
	}
	return found
}

// https://docs.cilium.io/en/stable/security/policy/language/#entities-based
func putEntity(put func(Peer, []Ports), state State, entity string, ports []Ports) {
	everywhere := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	switch entity {
	case "world":
		putOutside(put, state, everywhere, nil, ports)
	case "host":
		put(Peer{Host: true}, ports)
	case "remote-node":
		if len(state.Nodes) > 0 {
			put(Peer{Addresses: sorted(state.Nodes)}, ports)
		}
	case "kube-apiserver":
		putServers(put, state.APIServers, ports)
	case "cluster":
		for _, member := range []string{"host", "remote-node", "kube-apiserver"} {
			putEntity(put, state, member, ports)
		}
		if len(state.Endpoints) > 0 {
			put(Peer{Addresses: addresses(state.Endpoints)}, ports)
		}
	}
}

// putOutside allows ranges, and what of the outside is reached through the node.
func putOutside(put func(Peer, []Ports), state State, ranges, except []netip.Prefix, ports []Ports) {
	if len(ranges) == 0 {
		return
	}
	put(Peer{Outside: ranges, Except: except}, ports)
	within := func(ranges []netip.Prefix, address netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(prefix netip.Prefix) bool { return prefix.Contains(address) })
	}
	var linked []netip.AddrPort
	for _, server := range state.Outside {
		if within(ranges, server.Addr()) && !within(except, server.Addr()) {
			linked = append(linked, server)
		}
	}
	putServers(put, linked, ports)
}

// putServers allows servers of the lab on the port that they have here, where the rule opens it or that of HTTPS.
func putServers(put func(Peer, []Ports), servers []netip.AddrPort, ports []Ports) {
	for _, server := range servers {
		opens := func(item Ports) bool {
			covers := func(number uint16) bool { return item.First <= number && number <= item.Last }
			return item.Protocol == "TCP" && (item.First == 0 || covers(httpsPort) || covers(server.Port()))
		}
		if len(ports) == 0 || slices.ContainsFunc(ports, opens) {
			put(Peer{Addresses: []netip.Addr{server.Addr()}}, []Ports{{Protocol: "TCP", First: server.Port(), Last: server.Port()}})
		}
	}
}

func named(ports []port) bool {
	return slices.ContainsFunc(ports, func(item port) bool { return item.name != "" })
}

func putNamed(put func(Peer, []Ports), endpoints []Endpoint, ports []port) {
	for _, endpoint := range endpoints {
		if found := resolvePorts(ports, endpoint); len(found) > 0 {
			put(Peer{Addresses: []netip.Addr{endpoint.Address}}, found)
		}
	}
}

// resolvePorts are the numbers of ports on an endpoint.
func resolvePorts(ports []port, endpoint Endpoint) []Ports {
	var found []Ports
	for _, item := range ports {
		for _, protocol := range protocols {
			if item.protocol != "" && item.protocol != protocol {
				continue
			}
			if item.name == "" {
				found = append(found, Ports{Protocol: protocol, First: item.first, Last: item.last})
				continue
			}
			for _, known := range endpoint.Ports {
				if known.Name == item.name && known.Protocol == protocol {
					found = append(found, Ports{Protocol: protocol, First: known.Number, Last: known.Number})
				}
			}
		}
	}
	return found
}

func where(endpoints []Endpoint, matches func(Endpoint) bool) []Endpoint {
	var found []Endpoint
	for _, endpoint := range endpoints {
		if matches(endpoint) {
			found = append(found, endpoint)
		}
	}
	return found
}

func addresses(endpoints []Endpoint) []netip.Addr {
	var found []netip.Addr
	for _, endpoint := range endpoints {
		found = append(found, endpoint.Address)
	}
	return sorted(found)
}

func sorted(list []netip.Addr) []netip.Addr {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}
