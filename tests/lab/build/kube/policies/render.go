package policies

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// TableName is the table of nftables, in the family ip.
const TableName = "network-policies"

// render replaces the whole table, in one transaction.
func render(tx *knftables.Transaction, set RuleSet) {
	tx.Add(&knftables.Table{}) // so that there is one to delete
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("what NetworkPolicies allow")})

	put := func(name, of string, flags []knftables.SetFlag, elements []string) {
		tx.Add(&knftables.Set{Name: name, Type: "ipv4_addr", Flags: flags, Comment: knftables.PtrTo(of)})
		for _, element := range elements {
			tx.Add(&knftables.Element{Set: name, Key: []string{element}})
		}
	}
	interval := []knftables.SetFlag{knftables.IntervalFlag}
	put("pod-ranges", "where pods get their addresses from", interval, texts(set.PodRanges))
	put("pods", "addresses whose pod is known", nil, texts(set.Pods))
	put("nodes", "addresses of nodes", nil, texts(set.Nodes))

	for _, direction := range []Direction{Egress, Ingress} {
		tx.Add(&knftables.Map{
			Name: "isolated-" + string(direction), Type: "ipv4_addr : verdict",
			Comment: knftables.PtrTo("pods that a policy selects for " + string(direction)),
		})
		for _, isolation := range set.Isolated {
			if isolation.Direction == direction {
				isolationChain(tx, isolation)
			}
		}
		own := ownField(direction)
		tx.Add(&knftables.Chain{Name: string(direction)})
		tx.Add(&knftables.Rule{Chain: string(direction), Rule: own + " vmap @isolated-" + string(direction)})
		tx.Add(&knftables.Rule{
			Chain: string(direction), Rule: fmt.Sprintf("%s @pod-ranges %s != @pods drop", own, own),
			Comment: knftables.PtrTo("no pod is known by this address yet"),
		})
	}
	// A pod is forwarded to other pods and to the outside, and reaches the node itself by `input`. What the node sends
	// goes by `output`, which is free.
	baseChain(tx, "forward", knftables.ForwardHook, "egress", "ingress")
	baseChain(tx, "input", knftables.InputHook, "egress")
}

func baseChain(tx *knftables.Transaction, name string, hook knftables.BaseChainHook, through ...string) {
	tx.Add(&knftables.Chain{
		Name: name, Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(hook),
		Priority: knftables.PtrTo(knftables.FilterPriority),
	})
	tx.Add(&knftables.Rule{Chain: name, Rule: "ct state established,related accept"})
	for _, chain := range through {
		tx.Add(&knftables.Rule{Chain: name, Rule: "jump " + chain})
	}
}

// isolationChain returns for what is allowed and drops the rest.
func isolationChain(tx *knftables.Transaction, isolation Isolation) {
	chain := string(isolation.Direction) + "/" + isolation.Endpoint
	tx.Add(&knftables.Chain{Name: chain})
	tx.Add(&knftables.Rule{
		Chain: chain, Rule: fmt.Sprintf("%s %s return", peerField(isolation.Direction), isolation.Address),
		Comment: knftables.PtrTo("itself"),
	})
	for _, item := range isolation.Rules {
		for _, who := range matchPeer(isolation.Direction, item.Peer) {
			for _, what := range matchPorts(item.Ports) {
				match := strings.Join(strings.Fields(who+" "+what+" return"), " ")
				tx.Add(&knftables.Rule{Chain: chain, Rule: match, Comment: knftables.PtrTo(item.Policy)})
			}
		}
	}
	tx.Add(&knftables.Rule{Chain: chain, Rule: "drop"})
	tx.Add(&knftables.Element{
		Map: "isolated-" + string(isolation.Direction), Key: []string{isolation.Address.String()},
		Value: []string{"jump " + chain},
	})
}

func ownField(direction Direction) string {
	if direction == Egress {
		return "ip saddr"
	}
	return "ip daddr"
}

func peerField(direction Direction) string {
	if direction == Egress {
		return "ip daddr"
	}
	return "ip saddr"
}

// matchPeer are the matches of which one has to hold.
func matchPeer(direction Direction, other Peer) []string {
	field := peerField(direction)
	local := strings.Replace(field, "ip", "fib", 1) + " type"
	switch {
	case other.Anybody:
		return []string{""}
	case other.Host:
		return []string{local + " local"}
	case len(other.Addresses) > 0:
		return []string{field + " " + braces(texts(other.Addresses))}
	}
	// Families do not mix: the pods of the lab have IPv4 addresses.
	ranges := slices.DeleteFunc(slices.Clone(other.Outside), isV6)
	except := slices.DeleteFunc(slices.Clone(other.Except), isV6)
	if len(ranges) == 0 {
		return nil
	}
	match := ""
	if ranges[0].Bits() > 0 {
		match = field + " " + braces(texts(ranges))
	}
	if len(except) > 0 {
		match += " " + field + " != " + braces(texts(except))
	}
	for _, inside := range []string{"pod-ranges", "nodes"} {
		match += " " + field + " != @" + inside
	}
	return []string{match + " " + local + " != local"}
}

func isV6(prefix netip.Prefix) bool { return prefix.Addr().Is6() }

// matchPorts are the matches of which one has to hold, one for each protocol.
func matchPorts(ports []Ports) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var found []string
	for _, protocol := range protocols {
		var numbers []string
		all := false
		for _, item := range ports {
			switch {
			case item.Protocol != protocol:
			case item.First == 0:
				all = true
			case item.First == item.Last:
				numbers = append(numbers, fmt.Sprint(item.First))
			default:
				numbers = append(numbers, fmt.Sprintf("%d-%d", item.First, item.Last))
			}
		}
		name := strings.ToLower(protocol)
		switch {
		case all:
			found = append(found, "meta l4proto "+name)
		case len(numbers) > 0:
			found = append(found, name+" dport "+braces(numbers))
		}
	}
	return found
}

// braces is an anonymous set. Overlapping ranges in one are refused by nft, so each element is kept once.
func braces(elements []string) string {
	seen := map[string]bool{}
	var kept []string
	for _, element := range elements {
		if !seen[element] {
			seen[element] = true
			kept = append(kept, element)
		}
	}
	return "{ " + strings.Join(kept, ", ") + " }"
}

func texts[T fmt.Stringer](list []T) []string {
	var found []string
	for _, item := range list {
		found = append(found, item.String())
	}
	return found
}
