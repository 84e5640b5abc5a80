package policies

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
)

// State is all that decides what may flow.
type State struct {
	Endpoints []Endpoint
	// Namespaces are the labels of each.
	Namespaces map[string]map[string]string
	// Nodes are the addresses of the nodes.
	Nodes []netip.Addr
	// APIServers are the endpoints of the Service `kubernetes`.
	APIServers []netip.AddrPort
	// Outside are addresses of the node behind which the outside is: the link to the simulated Azure.
	Outside []netip.AddrPort
	// PodRanges are where the addresses of pods are taken from.
	PodRanges      []netip.Prefix
	Policies       []*networkingv1.NetworkPolicy
	CiliumPolicies []CiliumPolicy
	// Names are the addresses of the names in CiliumPolicies.
	Names map[string][]netip.Addr
}

// Endpoint is a pod with an address of its own, or a process of the lab that
// stands in for one.
type Endpoint struct {
	Namespace string
	Name      string
	Address   netip.Addr
	Labels    map[string]string
	Ports     []NamedPort
	// StandIn is reached by policies and has none itself.
	StandIn bool
}

// NamedPort is a port of a container.
type NamedPort struct {
	Name     string
	Protocol string
	Number   uint16
}

// Direction of a connection, seen from the pod that a policy selects.
type Direction string

// The directions of a policy.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// RuleSet is what is to be in force.
type RuleSet struct {
	PodRanges []netip.Prefix
	// Pods are the addresses of which the pod is known.
	Pods []netip.Addr
	// Nodes are addresses that no ipBlock means.
	Nodes    []netip.Addr
	Isolated []Isolation
	// Warnings are policies, or parts of them, that allow nothing, and why.
	Warnings []string
}

// Isolation is a pod whose connections in one direction are refused unless a rule allows them.
type Isolation struct {
	Endpoint  string
	Address   netip.Addr
	Direction Direction
	Rules     []Rule
}

// Rule allows connections with a peer, on ports; no ports: whatever is sent.
type Rule struct {
	Peer   Peer
	Ports  []Ports
	Policy string
}

// Peer is one kind of other side.
type Peer struct {
	// Anybody is every address.
	Anybody bool
	// Addresses are pods, nodes or API servers.
	Addresses []netip.Addr
	// Outside are addresses in these ranges that are neither a pod's nor a node's.
	Outside []netip.Prefix
	// Except are ranges to leave out of Outside.
	Except []netip.Prefix
	// Host is every address of the node of the pod.
	Host bool
}

// Ports is a range of one protocol; first 0 means all of them.
type Ports struct {
	Protocol    string
	First, Last uint16
}
