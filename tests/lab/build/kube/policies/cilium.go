package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// CiliumPolicy is a CiliumNetworkPolicy as it was read: its spec is looked at when it is compiled.
type CiliumPolicy struct {
	Namespace string
	Name      string
	Spec      []byte
}

// What the lab knows of a CiliumNetworkPolicy; the definition of the resource has the same.
// https://docs.cilium.io/en/stable/security/policy/language/
type ciliumSpec struct {
	Description      string                `json:"description,omitempty"`
	EndpointSelector *metav1.LabelSelector `json:"endpointSelector,omitempty"`
	Ingress          []ciliumRule          `json:"ingress,omitempty"`
	Egress           []ciliumRule          `json:"egress,omitempty"`
}

type ciliumRule struct {
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints,omitempty"`
	FromEntities  []string               `json:"fromEntities,omitempty"`
	FromCIDR      []string               `json:"fromCIDR,omitempty"`
	FromCIDRSet   []ciliumRange          `json:"fromCIDRSet,omitempty"`
	ToEndpoints   []metav1.LabelSelector `json:"toEndpoints,omitempty"`
	ToEntities    []string               `json:"toEntities,omitempty"`
	ToCIDR        []string               `json:"toCIDR,omitempty"`
	ToCIDRSet     []ciliumRange          `json:"toCIDRSet,omitempty"`
	ToFQDNs       []ciliumName           `json:"toFQDNs,omitempty"`
	ToPorts       []ciliumPorts          `json:"toPorts,omitempty"`
}

type ciliumRange struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except,omitempty"`
}

type ciliumName struct {
	MatchName    string `json:"matchName,omitempty"`
	MatchPattern string `json:"matchPattern,omitempty"`
}

type ciliumPorts struct {
	Ports []ciliumPort `json:"ports"`
	Rules *struct {
		DNS []ciliumName `json:"dns"`
	} `json:"rules,omitempty"`
}

type ciliumPort struct {
	Port     string `json:"port"`
	EndPort  int32  `json:"endPort,omitempty"`
	Protocol string `json:"protocol,omitempty"`
}

// entities are the groups that a rule can name.
var entities = []string{"all", "cluster", "host", "kube-apiserver", "remote-node", "world"}

const (
	podNamespace    = "io.kubernetes.pod.namespace"
	namespaceLabels = "io.cilium.k8s.namespace.labels."
)

var errSelector = errors.New("endpointSelector is missing")

func parseCilium(object CiliumPolicy) (ciliumSpec, error) {
	var spec ciliumSpec
	decoder := json.NewDecoder(bytes.NewReader(object.Spec))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return spec, err
	}
	if spec.EndpointSelector == nil {
		return spec, errSelector
	}
	return spec, nil
}

// fromCilium reads a CiliumNetworkPolicy.
func fromCilium(object CiliumPolicy, namespaces map[string]map[string]string) (policy, error) {
	spec, err := parseCilium(object)
	if err != nil {
		return policy{}, err
	}
	selects, err := ciliumSelector(*spec.EndpointSelector, object.Namespace, namespaces)
	if err != nil {
		return policy{}, err
	}
	read := policy{
		name: "ciliumnetworkpolicy " + object.Namespace + "/" + object.Name,
		selects: func(endpoint Endpoint) bool {
			return endpoint.Namespace == object.Namespace && selects(endpoint)
		},
		rules: map[Direction][]rule{},
	}
	for direction, items := range map[Direction][]ciliumRule{Ingress: spec.Ingress, Egress: spec.Egress} {
		for _, item := range items {
			if err := read.addCilium(direction, item, object.Namespace, namespaces); err != nil {
				return policy{}, err
			}
		}
	}
	return read, nil
}

func (p *policy) addCilium(direction Direction, item ciliumRule, namespace string, namespaces map[string]map[string]string) error {
	peers, err := ciliumPeers(direction, item, namespace, namespaces)
	if err != nil {
		return err
	}
	read := rule{peers: peers}
	for _, group := range item.ToPorts {
		for _, text := range group.Ports {
			found, err := readCiliumPort(text)
			if err != nil {
				return err
			}
			read.ports = append(read.ports, found)
		}
		if group.Rules != nil {
			for _, name := range group.Rules.DNS {
				p.resolvable = append(p.resolvable, namePattern(name))
			}
		}
	}
	p.rules[direction] = append(p.rules[direction], read)
	return nil
}

// ciliumPeers are the other sides of a rule. One without any, and without ports, allows nothing.
func ciliumPeers(direction Direction, item ciliumRule, namespace string, namespaces map[string]map[string]string) ([]peer, error) {
	endpoints, names, ranges := item.FromEndpoints, item.FromEntities, item.FromCIDRSet
	single := item.FromCIDR
	foreign := item.ToEndpoints != nil || item.ToEntities != nil || item.ToCIDR != nil || item.ToCIDRSet != nil || item.ToFQDNs != nil
	if direction == Egress {
		endpoints, names, ranges, single = item.ToEndpoints, item.ToEntities, item.ToCIDRSet, item.ToCIDR
		foreign = item.FromEndpoints != nil || item.FromEntities != nil || item.FromCIDR != nil || item.FromCIDRSet != nil
	}
	if foreign {
		return nil, fmt.Errorf("%s has a peer of the other direction", direction)
	}
	kinds := 0
	for _, given := range []bool{endpoints != nil, names != nil, ranges != nil, single != nil, item.ToFQDNs != nil} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return nil, fmt.Errorf("%s combines several kinds of peers in one rule", direction)
	case kinds == 0 && item.ToPorts != nil:
		return anybody(), nil
	}
	peers := []peer{}
	for _, selector := range endpoints {
		found, err := ciliumSelector(selector, namespace, namespaces)
		if err != nil {
			return nil, err
		}
		peers = append(peers, peer{endpoints: found})
	}
	for _, name := range names {
		if !slices.Contains(entities, name) {
			return nil, fmt.Errorf("unknown entity %q", name)
		}
		peers = append(peers, peer{entity: name})
	}
	for _, text := range single {
		ranges = append(ranges, ciliumRange{CIDR: text})
	}
	for _, item := range ranges {
		found, err := readBlock(item.CIDR, item.Except)
		if err != nil {
			return nil, err
		}
		peers = append(peers, peer{block: found})
	}
	for _, name := range item.ToFQDNs {
		if name.MatchName == "" || name.MatchPattern != "" {
			return nil, errors.New("the lab knows toFQDNs by matchName only")
		}
		peers = append(peers, peer{name: canonical(name.MatchName)})
	}
	return peers, nil
}

func readCiliumPort(text ciliumPort) (port, error) {
	found := port{protocol: text.Protocol}
	if text.Protocol == "ANY" {
		found.protocol = ""
	}
	number, err := strconv.ParseUint(text.Port, 10, 16)
	if err != nil {
		if text.Port == "" || text.Port[0] >= '0' && text.Port[0] <= '9' {
			return port{}, fmt.Errorf("%q is no port", text.Port)
		}
		found.name = text.Port
		return found, nil
	}
	found.first, found.last = uint16(number), uint16(number)
	if text.EndPort > 0 {
		found.last = uint16(text.EndPort)
	}
	return found, nil
}

// ciliumSelector matches endpoints by their labels and those of their namespace; one that names no namespace means
// that of the policy.
func ciliumSelector(selector metav1.LabelSelector, namespace string, namespaces map[string]map[string]string) (func(Endpoint) bool, error) {
	wanted := metav1.LabelSelector{MatchLabels: map[string]string{}}
	local := true
	plain := func(key string) string {
		key = strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:")
		if key == podNamespace || strings.HasPrefix(key, namespaceLabels) {
			local = false
		}
		return key
	}
	for key, value := range selector.MatchLabels {
		wanted.MatchLabels[plain(key)] = value
	}
	for _, expression := range selector.MatchExpressions {
		expression.Key = plain(expression.Key)
		wanted.MatchExpressions = append(wanted.MatchExpressions, expression)
	}
	// Keys of Cilium are no valid label keys (namespace labels have two slashes), so requirements are made by hand.
	requirements, err := asRequirements(wanted)
	if err != nil {
		return nil, err
	}
	return func(endpoint Endpoint) bool {
		if local && endpoint.Namespace != namespace {
			return false
		}
		all := labels.Set{podNamespace: endpoint.Namespace}
		for key, value := range endpoint.Labels {
			all[key] = value
		}
		for key, value := range namespaces[endpoint.Namespace] {
			all[namespaceLabels+key] = value
		}
		for _, matches := range requirements {
			if !matches(all) {
				return false
			}
		}
		return true
	}, nil
}

func asRequirements(selector metav1.LabelSelector) ([]func(labels.Set) bool, error) {
	var found []func(labels.Set) bool
	for key, value := range selector.MatchLabels {
		found = append(found, func(set labels.Set) bool { return set.Has(key) && set.Get(key) == value })
	}
	for _, item := range selector.MatchExpressions {
		switch item.Operator {
		case metav1.LabelSelectorOpIn:
			found = append(found, func(set labels.Set) bool { return set.Has(item.Key) && slices.Contains(item.Values, set.Get(item.Key)) })
		case metav1.LabelSelectorOpNotIn:
			found = append(found, func(set labels.Set) bool { return !slices.Contains(item.Values, set.Get(item.Key)) })
		case metav1.LabelSelectorOpExists:
			found = append(found, func(set labels.Set) bool { return set.Has(item.Key) })
		case metav1.LabelSelectorOpDoesNotExist:
			found = append(found, func(set labels.Set) bool { return !set.Has(item.Key) })
		default:
			return nil, fmt.Errorf("unknown operator %q", item.Operator)
		}
	}
	return found, nil
}

// namePattern is a name, or a pattern in which * stands for characters of one label, and alone for every name.
type namePattern struct {
	MatchName    string
	MatchPattern string
}

func (n namePattern) covers(name string) bool {
	if n.MatchName != "" {
		return canonical(n.MatchName) == name
	}
	if n.MatchPattern == "*" {
		return true
	}
	quoted := strings.ReplaceAll(regexp.QuoteMeta(canonical(n.MatchPattern)), `\*`, `[-a-z0-9_]*`)
	return regexp.MustCompile("^" + quoted + "$").MatchString(name)
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// wantedNames are the names whose addresses the policies need.
func wantedNames(policies []CiliumPolicy) []string {
	var found []string
	for _, object := range policies {
		spec, err := parseCilium(object)
		if err != nil {
			continue
		}
		for _, item := range spec.Egress {
			for _, name := range item.ToFQDNs {
				if name.MatchName != "" {
					found = append(found, canonical(name.MatchName))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
