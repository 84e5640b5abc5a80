package policies

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/knftables"
	"sigs.k8s.io/yaml"
)

// The cluster of these tests: a shop with a web server and a database, a stranger, and what AKS brings.
func cluster() State {
	pod := func(namespace, name, address, app string, ports ...NamedPort) Endpoint {
		return Endpoint{
			Namespace: namespace, Name: name, Address: netip.MustParseAddr(address),
			Labels: map[string]string{"app": app}, Ports: ports,
		}
	}
	dns := pod("kube-system", "kube-dns", "172.30.0.10", "")
	dns.Labels, dns.StandIn = map[string]string{"k8s-app": "kube-dns"}, true
	return State{
		Endpoints: []Endpoint{
			pod("shop", "web", "10.244.0.2", "web", NamedPort{"http", "TCP", 8080}),
			pod("shop", "web-2", "10.244.0.3", "web", NamedPort{"http", "TCP", 9090}),
			pod("shop", "db", "10.244.0.4", "db", NamedPort{"mysql", "TCP", 3306}),
			pod("other", "web", "10.244.0.9", "web"),
			dns,
		},
		Namespaces: map[string]map[string]string{
			"shop":        {"kubernetes.io/metadata.name": "shop"},
			"other":       {"kubernetes.io/metadata.name": "other", "team": "b"},
			"kube-system": {"kubernetes.io/metadata.name": "kube-system"},
		},
		Nodes:      []netip.Addr{netip.MustParseAddr("172.30.0.10"), netip.MustParseAddr("10.224.0.5")},
		APIServers: []netip.AddrPort{netip.MustParseAddrPort("172.30.0.1:18401")},
		PodRanges:  []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Names:      map[string][]netip.Addr{"login.example.com": {netip.MustParseAddr("20.0.0.2"), netip.MustParseAddr("20.0.0.1")}},
	}
}

// rulesOf are the rules of a pod as they go to nftables, without the first (itself) and the last (drop); "open" if no
// policy selects it.
func rulesOf(t *testing.T, set RuleSet, endpoint string, direction Direction) string {
	t.Helper()
	nft := knftables.NewFake(knftables.IPv4Family, TableName)
	tx := nft.NewTransaction()
	render(tx, set)
	if err := nft.Run(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	chain := nft.Table.Chains[string(direction)+"/"+endpoint]
	if chain == nil {
		return "open"
	}
	var rules []string
	for _, rule := range chain.Rules {
		rules = append(rules, strings.TrimSuffix(rule.Rule, " return"))
	}
	if rules[len(rules)-1] != "drop" {
		t.Fatalf("%s %s does not end with drop: %v", endpoint, direction, rules)
	}
	return strings.Join(rules[1:len(rules)-1], "\n")
}

const outside = " ip daddr != @pod-ranges ip daddr != @nodes fib daddr type != local"

func TestNetworkPolicies(t *testing.T) {
	for _, test := range []struct {
		name, spec string
		pod        string
		ingress    string
		egress     string
	}{
		{
			name: "no policy type and no egress: ingress only", spec: `podSelector: {}`,
			pod: "shop/web", ingress: "", egress: "open",
		},
		{
			name: "no policy type but egress: both", spec: `{podSelector: {}, egress: [{}]}`,
			pod: "shop/web", ingress: "", egress: "return",
		},
		{
			name: "egress alone leaves ingress open", spec: `{podSelector: {}, policyTypes: [Egress]}`,
			pod: "shop/web", ingress: "open", egress: "",
		},
		{
			name: "rules of a direction that is not isolated mean nothing",
			spec: `{podSelector: {}, policyTypes: [Ingress], egress: [{}]}`,
			pod:  "shop/web", ingress: "", egress: "open",
		},
		{
			name: "a pod that is not selected", spec: `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}`,
			pod: "shop/web", ingress: "open", egress: "open",
		},
		{
			name: "a pod of another namespace", spec: `{podSelector: {}, policyTypes: [Ingress, Egress]}`,
			pod: "other/web", ingress: "open", egress: "open",
		},
		{
			name: "a podSelector means the namespace of the policy",
			spec: `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 3306}]}]}`,
			pod:  "shop/db", ingress: "ip saddr { 10.244.0.2, 10.244.0.3 } tcp dport { 3306 }", egress: "open",
		},
		{
			name: "a namespaceSelector alone means all pods there",
			spec: `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}`,
			pod:  "shop/db", ingress: "ip saddr { 10.244.0.9 }", egress: "open",
		},
		{
			name: "both in one peer must hold",
			spec: `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}`,
			pod:  "shop/db", ingress: "ip saddr { 10.244.0.2, 10.244.0.3, 10.244.0.9 }", egress: "open",
		},
		{
			name: "two peers: either",
			spec: `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: db}}}]}]}`,
			pod:  "shop/db", ingress: "ip saddr { 10.244.0.9 }\nip saddr { 10.244.0.4 }", egress: "open",
		},
		{
			name: "nobody matches: nothing is allowed, not everything",
			spec: `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: none}}}]}]}`,
			pod:  "shop/db", ingress: "", egress: "open",
		},
		{
			name: "no peers, ports only: anybody", spec: `{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 53, protocol: UDP}]}]}`,
			pod: "shop/db", ingress: "tcp dport { 80 }\nudp dport { 53 }", egress: "open",
		},
		{
			name: "a protocol without a port", spec: `{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}`,
			pod: "shop/db", ingress: "meta l4proto udp", egress: "open",
		},
		{
			name: "endPort", spec: `{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8010}, {port: 80}]}]}`,
			pod: "shop/db", ingress: "tcp dport { 8000-8010, 80 }", egress: "open",
		},
		{
			name: "a named port of ingress is the pod's own", spec: `{podSelector: {}, ingress: [{ports: [{port: mysql}]}]}`,
			pod: "shop/db", ingress: "tcp dport { 3306 }", egress: "open",
		},
		{
			name: "a named port that the pod lacks", spec: `{podSelector: {}, ingress: [{ports: [{port: mysql}]}]}`,
			pod: "shop/web", ingress: "", egress: "open",
		},
		{
			name: "a named port of another protocol", spec: `{podSelector: {}, ingress: [{ports: [{port: mysql, protocol: UDP}]}]}`,
			pod: "shop/db", ingress: "", egress: "open",
		},
		{
			name: "a named port of egress is that of each peer",
			spec: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}`,
			pod:  "shop/db", ingress: "open",
			egress: "ip daddr { 10.244.0.2 } tcp dport { 8080 }\nip daddr { 10.244.0.3 } tcp dport { 9090 }",
		},
		{
			name: "an ipBlock means neither pods nor nodes",
			spec: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}`,
			pod:  "shop/db", ingress: "open", egress: strings.TrimSpace(outside) + " tcp dport { 443 }",
		},
		{
			name: "except",
			spec: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 20.0.0.0/8, except: [20.1.0.0/16, 20.2.0.0/16]}}]}]}`,
			pod:  "shop/db", ingress: "open",
			egress: "ip daddr { 20.0.0.0/8 } ip daddr != { 20.1.0.0/16, 20.2.0.0/16 }" + outside,
		},
		{
			name: "what stands in for a pod is a peer",
			spec: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}]}`,
			pod:  "shop/db", ingress: "open", egress: "ip daddr { 172.30.0.10 } udp dport { 53 }",
		},
		{
			name: "expressions", spec: `{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}`,
			pod: "shop/web", ingress: "open", egress: "open",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := cluster()
			object := &networkingv1.NetworkPolicy{}
			object.Namespace, object.Name = "shop", "tested"
			if err := yaml.UnmarshalStrict([]byte(test.spec), &object.Spec); err != nil {
				t.Fatal(err)
			}
			state.Policies = []*networkingv1.NetworkPolicy{object}
			set := compile(state)
			for direction, wanted := range map[Direction]string{Ingress: test.ingress, Egress: test.egress} {
				if got := rulesOf(t, set, test.pod, direction); got != wanted {
					t.Errorf("%s:\ngot    %q\nwanted %q", direction, got, wanted)
				}
			}
			if len(set.Warnings) > 0 {
				t.Error(set.Warnings)
			}
		})
	}
}

func ciliumPolicy(t *testing.T, name, spec string) CiliumPolicy {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return CiliumPolicy{Namespace: "shop", Name: name, Spec: text}
}

func TestCiliumPolicies(t *testing.T) {
	const dns = `{toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}],
		toPorts: [{ports: [{port: "53", protocol: ANY}], rules: {dns: [{matchName: login.example.com}]}}]}`
	for _, test := range []struct {
		name, spec      string
		ingress, egress string
		warning         string
	}{
		{name: "no rules isolate nothing", spec: `endpointSelector: {}`, ingress: "open", egress: "open"},
		{name: "empty lists isolate nothing", spec: `{endpointSelector: {}, ingress: [], egress: []}`, ingress: "open", egress: "open"},
		{name: "an empty rule isolates and allows nothing", spec: `{endpointSelector: {}, egress: [{}]}`, ingress: "open", egress: ""},
		{
			name: "another pod", spec: `{endpointSelector: {matchLabels: {app: web}}, egress: [{}]}`,
			ingress: "open", egress: "open",
		},
		{
			name:    "the API server, on the port it has here",
			spec:    `{endpointSelector: {matchLabels: {k8s:app: db}}, egress: [{toEntities: [kube-apiserver], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]}`,
			ingress: "open", egress: "ip daddr { 172.30.0.1 } tcp dport { 18401 }",
		},
		{
			name:    "the API server, on a port it does not have",
			spec:    `{endpointSelector: {}, egress: [{toEntities: [kube-apiserver], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]}`,
			ingress: "open", egress: "",
		},
		{
			name: "the world is outside", spec: `{endpointSelector: {}, egress: [{toEntities: [world], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]}`,
			ingress: "open", egress: strings.TrimSpace(outside) + " tcp dport { 443 }",
		},
		{
			name: "host and nodes", spec: `{endpointSelector: {}, ingress: [{fromEntities: [host, remote-node]}]}`,
			ingress: "fib saddr type local\nip saddr { 10.224.0.5, 172.30.0.10 }", egress: "open",
		},
		{
			name: "the cluster", spec: `{endpointSelector: {}, egress: [{toEntities: [cluster], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]}`,
			ingress: "open", egress: "fib daddr type local tcp dport { 80 }\nip daddr { 10.224.0.5, 172.30.0.10 } tcp dport { 80 }\n" +
				"ip daddr { 10.244.0.2, 10.244.0.3, 10.244.0.4, 10.244.0.9, 172.30.0.10 } tcp dport { 80 }",
		},
		{
			name: "ports alone: anybody", spec: `{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]}`,
			ingress: "tcp dport { 80 }", egress: "open",
		},
		{
			name: "endpoints of the own namespace, and of another", spec: `{endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {app: web}}, {matchLabels: {app: web, k8s:io.kubernetes.pod.namespace: other}}]}]}`,
			ingress: "ip saddr { 10.244.0.2, 10.244.0.3 }\nip saddr { 10.244.0.9 }", egress: "open",
		},
		{
			name: "endpoints by labels of their namespace", spec: `{endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: b}}]}]}`,
			ingress: "ip saddr { 10.244.0.9 }", egress: "open",
		},
		{
			name: "no endpoint at all", spec: `{endpointSelector: {}, ingress: [{fromEndpoints: []}]}`, ingress: "", egress: "open",
		},
		{
			name: "ranges", spec: `{endpointSelector: {}, egress: [{toCIDRSet: [{cidr: 20.0.0.0/8, except: [20.1.0.0/16]}]}, {toCIDR: [30.0.0.0/8]}]}`,
			ingress: "open",
			egress:  "ip daddr { 20.0.0.0/8 } ip daddr != { 20.1.0.0/16 }" + outside + "\nip daddr { 30.0.0.0/8 }" + outside,
		},
		{
			name: "a name", spec: `{endpointSelector: {}, egress: [` + strings.ReplaceAll(dns, "ANY", "UDP") + `, {toFQDNs: [{matchName: Login.Example.com}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]}`,
			ingress: "open",
			egress:  "ip daddr { 172.30.0.10 } udp dport { 53 }\nip daddr { 20.0.0.1/32, 20.0.0.2/32 }" + outside + " tcp dport { 443 }",
		},
		{
			name: "a name that has no address yet", spec: `{endpointSelector: {}, egress: [{toFQDNs: [{matchName: none.example.com}], toPorts: [{ports: [{port: "53"}], rules: {dns: [{matchPattern: "*"}]}}]}]}`,
			ingress: "open", egress: "",
		},
		{
			name: "a name that no rule lets the pods ask for", spec: `{endpointSelector: {}, egress: [{toFQDNs: [{matchName: login.example.com}]}]}`,
			ingress: "open", egress: "", warning: "rules.dns",
		},
		{name: "an unknown field", spec: `{endpointSelector: {}, egressDeny: [{}]}`, ingress: "", egress: "", warning: "egressDeny"},
		{name: "an unknown entity", spec: `{endpointSelector: {}, egress: [{toEntities: [moon]}]}`, ingress: "", egress: "", warning: "moon"},
		{name: "two kinds of peers", spec: `{endpointSelector: {}, egress: [{toEntities: [world], toCIDR: [1.0.0.0/8]}]}`, ingress: "", egress: "", warning: "several kinds"},
		{name: "the wrong direction", spec: `{endpointSelector: {}, egress: [{fromEntities: [world]}]}`, ingress: "", egress: "", warning: "other direction"},
		{name: "no selector", spec: `{egress: [{}]}`, ingress: "", egress: "", warning: "endpointSelector"},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := cluster()
			state.CiliumPolicies = []CiliumPolicy{ciliumPolicy(t, "tested", test.spec)}
			set := compile(state)
			for direction, wanted := range map[Direction]string{Ingress: test.ingress, Egress: test.egress} {
				if got := rulesOf(t, set, "shop/db", direction); got != wanted {
					t.Errorf("%s:\ngot    %q\nwanted %q", direction, got, wanted)
				}
			}
			if warnings := strings.Join(set.Warnings, "\n"); (test.warning == "") != (warnings == "") || !strings.Contains(warnings, test.warning) {
				t.Errorf("warnings: %q", warnings)
			}
		})
	}
}

func TestTheOutsideBehindTheNode(t *testing.T) {
	linked := "ip daddr { 172.30.0.10 } tcp dport { 18400 }"
	for _, test := range []struct{ name, egress, wanted string }{
		{"a range", `{toCIDRSet: [{cidr: 172.0.0.0/8}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}`, linked},
		{"another range", `{toCIDRSet: [{cidr: 20.0.0.0/8}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}`, ""},
		{"an exception", `{toCIDRSet: [{cidr: 172.0.0.0/8, except: [172.30.0.0/16]}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}`, ""},
		{"the world", `{toEntities: [world], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}`, linked},
		{"another port", `{toEntities: [world], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}`, ""},
		{"its name", `{toFQDNs: [{matchName: azure.lab.internal}], toPorts: [{ports: [{port: "443", protocol: TCP}], rules: {dns: [{matchName: azure.lab.internal}]}}]}`, linked},
		{"another name", `{toFQDNs: [{matchName: login.example.com}], toPorts: [{ports: [{port: "443", protocol: TCP}], rules: {dns: [{matchPattern: "*"}]}}]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := cluster()
			state.Outside = []netip.AddrPort{netip.MustParseAddrPort("172.30.0.10:18400")}
			state.Names["azure.lab.internal"] = []netip.Addr{netip.MustParseAddr("172.30.0.10")}
			state.CiliumPolicies = []CiliumPolicy{ciliumPolicy(t, "tested", `{endpointSelector: {}, egress: [`+test.egress+`]}`)}
			_, got, _ := strings.Cut(rulesOf(t, compile(state), "shop/db", Egress), "\n")
			if got != test.wanted {
				t.Errorf("got %q, wanted %q", got, test.wanted)
			}
		})
	}
}

func TestPoliciesAddUp(t *testing.T) {
	state := cluster()
	for i, spec := range []string{
		`{podSelector: {}, policyTypes: [Ingress, Egress]}`,
		`{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 3306}]}]}`,
	} {
		object := &networkingv1.NetworkPolicy{}
		object.Namespace, object.Name = "shop", fmt.Sprint("p", i)
		if err := yaml.UnmarshalStrict([]byte(spec), &object.Spec); err != nil {
			t.Fatal(err)
		}
		state.Policies = append(state.Policies, object)
	}
	state.CiliumPolicies = []CiliumPolicy{ciliumPolicy(t, "more", `{endpointSelector: {matchLabels: {app: db}}, egress: [{toEntities: [all]}]}`)}
	set := compile(state)
	for endpoint, wanted := range map[string][2]string{"shop/db": {"tcp dport { 3306 }", "return"}, "shop/web": {"", ""}, "other/web": {"open", "open"}} {
		if got := [2]string{rulesOf(t, set, endpoint, Ingress), rulesOf(t, set, endpoint, Egress)}; got != wanted {
			t.Errorf("%s: got %q, wanted %q", endpoint, got, wanted)
		}
	}
}

func TestNamePatterns(t *testing.T) {
	for _, test := range []struct {
		pattern namePattern
		name    string
		covers  bool
	}{
		{namePattern{MatchName: "A.example.com."}, "a.example.com", true},
		{namePattern{MatchName: "a.example.com"}, "b.example.com", false},
		{namePattern{MatchPattern: "*"}, "a.b.c", true},
		{namePattern{MatchPattern: "*.example.com"}, "a.example.com", true},
		{namePattern{MatchPattern: "*.example.com"}, "a.b.example.com", false},
		{namePattern{MatchPattern: "*.example.com"}, "example.com", false},
		{namePattern{MatchPattern: "app*.example.com"}, "app-1.example.com", true},
		{namePattern{MatchPattern: "a.example.com"}, "aXexample.com", false},
	} {
		if got := test.pattern.covers(test.name); got != test.covers {
			t.Errorf("%+v covers %s: %v", test.pattern, test.name, got)
		}
	}
}

func TestEveryPodIsKnownAndStandInsAreNot(t *testing.T) {
	set := compile(cluster())
	if got := texts(set.Pods); !slices.Equal(got, []string{"10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.9"}) {
		t.Error(got)
	}
}
