package policies

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// policy is what both kinds of policies have in common.
type policy struct {
	name    string
	selects func(Endpoint) bool
	// rules has a key for each direction that the policy isolates.
	rules map[Direction][]rule
	// resolvable are the names that the policy lets its pods ask for.
	resolvable []namePattern
}

type rule struct {
	peers []peer
	ports []port
}

// peer is one kind of other side; exactly one field is set.
type peer struct {
	anybody   bool
	endpoints func(Endpoint) bool
	block     *block
	entity    string
	name      string
}

type block struct {
	within netip.Prefix
	except []netip.Prefix
}

// port is a named port, or a range; the protocol may be empty: any.
type port struct {
	protocol    string
	name        string
	first, last uint16
}

func anybody() []peer { return []peer{{anybody: true}} }

// fromKubernetes reads a NetworkPolicy.
// https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
func fromKubernetes(object *networkingv1.NetworkPolicy, namespaces map[string]map[string]string) (policy, error) {
	selector, err := metav1.LabelSelectorAsSelector(&object.Spec.PodSelector)
	if err != nil {
		return policy{}, err
	}
	read := policy{
		name: "networkpolicy " + object.Namespace + "/" + object.Name,
		selects: func(endpoint Endpoint) bool {
			return endpoint.Namespace == object.Namespace && selector.Matches(labels.Set(endpoint.Labels))
		},
		rules: map[Direction][]rule{},
	}
	for _, direction := range directions(object) {
		read.rules[direction] = nil
	}
	for _, item := range object.Spec.Ingress {
		if err := read.add(Ingress, item.From, item.Ports, object.Namespace, namespaces); err != nil {
			return policy{}, err
		}
	}
	for _, item := range object.Spec.Egress {
		if err := read.add(Egress, item.To, item.Ports, object.Namespace, namespaces); err != nil {
			return policy{}, err
		}
	}
	return read, nil
}

// directions are the policyTypes, or what the API server takes for them.
func directions(object *networkingv1.NetworkPolicy) []Direction {
	var found []Direction
	for _, kind := range object.Spec.PolicyTypes {
		switch kind {
		case networkingv1.PolicyTypeIngress:
			found = append(found, Ingress)
		case networkingv1.PolicyTypeEgress:
			found = append(found, Egress)
		}
	}
	if object.Spec.PolicyTypes == nil {
		found = append(found, Ingress)
		if len(object.Spec.Egress) > 0 {
			found = append(found, Egress)
		}
	}
	return found
}

func (p *policy) add(
	direction Direction,
	peers []networkingv1.NetworkPolicyPeer,
	ports []networkingv1.NetworkPolicyPort,
	namespace string,
	namespaces map[string]map[string]string,
) error {
	if _, isolates := p.rules[direction]; !isolates {
		return nil
	}
	read := rule{peers: anybody()}
	if len(peers) > 0 {
		read.peers = nil
	}
	for _, item := range peers {
		found, err := kubernetesPeer(item, namespace, namespaces)
		if err != nil {
			return err
		}
		read.peers = append(read.peers, found)
	}
	for _, item := range ports {
		read.ports = append(read.ports, kubernetesPort(item))
	}
	p.rules[direction] = append(p.rules[direction], read)
	return nil
}

func kubernetesPeer(item networkingv1.NetworkPolicyPeer, namespace string, namespaces map[string]map[string]string) (peer, error) {
	if item.IPBlock != nil {
		found, err := readBlock(item.IPBlock.CIDR, item.IPBlock.Except)
		return peer{block: found}, err
	}
	pods, spaces := labels.Everything(), labels.Selector(nil)
	var err error
	if item.PodSelector != nil {
		if pods, err = metav1.LabelSelectorAsSelector(item.PodSelector); err != nil {
			return peer{}, err
		}
	}
	if item.NamespaceSelector != nil {
		if spaces, err = metav1.LabelSelectorAsSelector(item.NamespaceSelector); err != nil {
			return peer{}, err
		}
	}
	return peer{endpoints: func(endpoint Endpoint) bool {
		if spaces == nil && endpoint.Namespace != namespace {
			return false
		}
		if spaces != nil && !spaces.Matches(labels.Set(namespaces[endpoint.Namespace])) {
			return false
		}
		return pods.Matches(labels.Set(endpoint.Labels))
	}}, nil
}

func kubernetesPort(item networkingv1.NetworkPolicyPort) port {
	found := port{protocol: string(corev1.ProtocolTCP)}
	if item.Protocol != nil {
		found.protocol = string(*item.Protocol)
	}
	if item.Port == nil {
		return found
	}
	if item.Port.Type == intstr.String {
		found.name = item.Port.StrVal
		return found
	}
	found.first = uint16(item.Port.IntVal)
	found.last = found.first
	if item.EndPort != nil {
		found.last = uint16(*item.EndPort)
	}
	return found
}

func readBlock(within string, except []string) (*block, error) {
	prefix, err := netip.ParsePrefix(within)
	if err != nil {
		return nil, fmt.Errorf("%q is no address range: %w", within, err)
	}
	found := &block{within: prefix.Masked()}
	for _, text := range except {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no address range: %w", text, err)
		}
		found.except = append(found.except, prefix.Masked())
	}
	return found, nil
}
