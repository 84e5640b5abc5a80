package policies

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func podAt(name, address string, age int64, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Unix(1000-age, 0)}}
	pod.Status.PodIP = address
	if address != "" {
		pod.Status.PodIPs = []corev1.PodIP{{IP: address}}
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestPodEndpoints(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pods := []*corev1.Pod{
		podAt("plain", "10.244.0.2", 1, func(pod *corev1.Pod) {
			pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
			pod.Spec.InitContainers = []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "setup", ContainerPort: 1}}},
				{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9104, Protocol: corev1.ProtocolUDP}}},
			}
		}),
		podAt("no address", "", 1, nil),
		podAt("host", "172.30.0.10", 1, func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }),
		podAt("done", "10.244.0.3", 1, func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }),
		podAt("old", "10.244.0.4", 9, nil),
		podAt("new", "10.244.0.4", 1, nil),
		podAt("six", "fd00::1", 1, nil),
	}
	var names []string
	for _, endpoint := range podEndpoints(pods) {
		names = append(names, endpoint.Name)
		if endpoint.Name == "plain" {
			wanted := []NamedPort{{"http", "TCP", 80}, {"metrics", "UDP", 9104}}
			if !slices.Equal(endpoint.Ports, wanted) {
				t.Errorf("ports: %v", endpoint.Ports)
			}
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"new", "plain"}) {
		t.Errorf("endpoints: %v", names)
	}
}

func TestOnlyWhatHasNoPodStandsInForOne(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system"},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"172.30.0.10"}},
			{Addresses: []string{"10.244.0.2"}, TargetRef: &corev1.ObjectReference{Kind: "Pod"}},
		},
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}}}
	found := standIns(slice, service)
	if len(found) != 1 || found[0].Address.String() != "172.30.0.10" || found[0].Labels["k8s-app"] != "kube-dns" || !found[0].StandIn {
		t.Errorf("%+v", found)
	}
	service.Spec.Selector = map[string]string{"k8s-app": "kube-dns"}
	if found := standIns(slice, service); found != nil {
		t.Errorf("a Service that selects pods has no stand-in: %+v", found)
	}
}

func TestAddressesOfNamesComeAndGo(t *testing.T) {
	first, second := netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("20.0.0.2")
	answer, failure := first, error(nil)
	n := newNames(func() {})
	n.lookup = func(context.Context, netip.AddrPort, string) ([]netip.Addr, error) {
		return []netip.Addr{answer}, failure
	}
	n.want([]string{"a.example"}, []netip.AddrPort{netip.MustParseAddrPort("172.30.0.10:53")})
	now := time.Now()
	step := func(what string, at time.Time, changes bool, wanted ...netip.Addr) {
		t.Helper()
		if n.refresh(t.Context(), at) != changes {
			t.Errorf("%s: changed is not %v", what, changes)
		}
		if got := n.addresses()["a.example"]; !slices.Equal(got, wanted) {
			t.Errorf("%s: %v", what, got)
		}
	}
	step("first answer", now, true, first)
	step("same answer", now, false, first)
	answer = second
	step("another answer is added", now.Add(time.Second), true, first, second)
	failure = errors.New("no server")
	step("a failure forgets nothing", now.Add(keepFor), false, first, second)
	step("what was not answered for long goes", now.Add(keepFor+500*time.Millisecond), true, second)
	n.want(nil, nil)
	step("what nobody wants goes", now.Add(keepFor), true)
}
