package policies

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

var ciliumPolicies = schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"}

const lookForCilium = 3 * time.Second

// watcher knows the objects of the cluster and says when one of them changed.
type watcher struct {
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	dynamic dynamic.Interface
	cilium  atomic.Pointer[cache.GenericLister]
	changed func()
}

func newWatcher(client kubernetes.Interface, dynamicClient dynamic.Interface, changed func()) *watcher {
	return &watcher{
		client: client, factory: informers.NewSharedInformerFactory(client, 0), dynamic: dynamicClient, changed: changed,
	}
}

// start returns when everything is known.
func (w *watcher) start(ctx context.Context, finder discovery.DiscoveryInterface) error {
	core := w.factory.Core().V1()
	for _, informer := range []cache.SharedIndexInformer{
		core.Pods().Informer(), core.Namespaces().Informer(), core.Nodes().Informer(), core.Services().Informer(),
		w.factory.Discovery().V1().EndpointSlices().Informer(),
		w.factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if err := w.observe(informer); err != nil {
			return err
		}
	}
	w.factory.Start(ctx.Done())
	w.factory.WaitForCacheSync(ctx.Done())
	// Clusters of other data planes have no CiliumNetworkPolicy; a definition may also come later.
	if !w.startCilium(ctx, finder) {
		go func() {
			ticker := time.NewTicker(lookForCilium)
			defer ticker.Stop()
			for !w.startCilium(ctx, finder) {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
			w.changed()
		}()
	}
	return ctx.Err()
}

func (w *watcher) observe(informer cache.SharedIndexInformer) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.changed() },
		UpdateFunc: func(_, _ any) { w.changed() },
		DeleteFunc: func(any) { w.changed() },
	})
	return err
}

func (w *watcher) startCilium(ctx context.Context, finder discovery.DiscoveryInterface) bool {
	found, err := finder.ServerResourcesForGroupVersion(ciliumPolicies.GroupVersion().String())
	if err != nil {
		return false
	}
	for _, resource := range found.APIResources {
		if resource.Name == ciliumPolicies.Resource {
			factory := dynamicinformer.NewDynamicSharedInformerFactory(w.dynamic, 0)
			informer := factory.ForResource(ciliumPolicies)
			if err := w.observe(informer.Informer()); err != nil {
				return false
			}
			factory.Start(ctx.Done())
			factory.WaitForCacheSync(ctx.Done())
			lister := informer.Lister()
			w.cilium.Store(&lister)
			return true
		}
	}
	return false
}

// state is what is known now, and the DNS servers of the cluster.
func (w *watcher) state(podRanges []netip.Prefix) (State, []netip.AddrPort, error) {
	core, state := w.factory.Core().V1(), State{PodRanges: slices.Clone(podRanges), Namespaces: map[string]map[string]string{}}
	namespaces, err := core.Namespaces().Lister().List(labels.Everything())
	if err != nil {
		return state, nil, err
	}
	for _, namespace := range namespaces {
		state.Namespaces[namespace.Name] = namespace.Labels
	}
	nodes, err := core.Nodes().Lister().List(labels.Everything())
	if err != nil {
		return state, nil, err
	}
	for _, node := range nodes {
		state.Nodes = append(state.Nodes, nodeAddresses(node)...)
	}
	pods, err := core.Pods().Lister().List(labels.Everything())
	if err != nil {
		return state, nil, err
	}
	state.Endpoints = podEndpoints(pods)
	if state.Policies, err = w.factory.Networking().V1().NetworkPolicies().Lister().List(labels.Everything()); err != nil {
		return state, nil, err
	}
	if lister := w.cilium.Load(); lister != nil {
		objects, err := (*lister).List(labels.Everything())
		if err != nil {
			return state, nil, err
		}
		for _, object := range objects {
			if policy, ok := object.(*unstructured.Unstructured); ok {
				state.CiliumPolicies = append(state.CiliumPolicies, asCiliumPolicy(policy))
			}
		}
	}
	slicesFound, err := w.factory.Discovery().V1().EndpointSlices().Lister().List(labels.Everything())
	if err != nil {
		return state, nil, err
	}
	services := func(namespace, name string) *corev1.Service {
		service, err := core.Services().Lister().Services(namespace).Get(name)
		if err != nil {
			return nil
		}
		return service
	}
	var servers []netip.AddrPort
	for _, slice := range slicesFound {
		name := slice.Labels[discoveryv1.LabelServiceName]
		switch {
		case slice.Namespace == "default" && name == "kubernetes":
			state.APIServers = append(state.APIServers, listeners(slice, corev1.ProtocolTCP)...)
			continue
		case slice.Namespace == "kube-system" && name == "kube-dns":
			servers = append(servers, listeners(slice, corev1.ProtocolUDP)...)
		}
		state.Endpoints = append(state.Endpoints, standIns(slice, services(slice.Namespace, name))...)
	}
	slices.SortFunc(servers, netip.AddrPort.Compare)
	return state, slices.Compact(servers), nil
}

// askForPolicies replaces what is known of policies by what the API server holds at this moment. Watches run apart: the
// address of a new pod may be seen before a policy that is older.
func (w *watcher) askForPolicies(ctx context.Context, state *State) error {
	held, err := w.client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	state.Policies = nil
	for i := range held.Items {
		state.Policies = append(state.Policies, &held.Items[i])
	}
	if w.cilium.Load() == nil {
		return nil
	}
	objects, err := w.dynamic.Resource(ciliumPolicies).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	state.CiliumPolicies = nil
	for i := range objects.Items {
		state.CiliumPolicies = append(state.CiliumPolicies, asCiliumPolicy(&objects.Items[i]))
	}
	return nil
}

func asCiliumPolicy(object *unstructured.Unstructured) CiliumPolicy {
	spec, _ := json.Marshal(object.Object["spec"])
	return CiliumPolicy{object.GetNamespace(), object.GetName(), spec}
}

func nodeAddresses(node *corev1.Node) []netip.Addr {
	var found []netip.Addr
	for _, item := range node.Status.Addresses {
		if address, err := netip.ParseAddr(item.Address); err == nil && address.Is4() {
			found = append(found, address)
		}
	}
	return found
}

// podEndpoints are the pods with an address of their own. Of two that claim the same one, the younger has it: the other
// is about to go.
func podEndpoints(pods []*corev1.Pod) []Endpoint {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if order := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(string(b.UID), string(a.UID))
	})
	taken := map[netip.Addr]bool{}
	var found []Endpoint
	for _, pod := range pods {
		if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, item := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
			address, err := netip.ParseAddr(item.IP)
			if err != nil || !address.Is4() || taken[address] {
				continue
			}
			taken[address] = true
			found = append(found, Endpoint{
				Namespace: pod.Namespace, Name: pod.Name, Address: address, Labels: pod.Labels, Ports: containerPorts(pod),
			})
		}
	}
	return found
}

func containerPorts(pod *corev1.Pod) []NamedPort {
	var found []NamedPort
	containers := slices.Clone(pod.Spec.Containers)
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, port := range container.Ports {
			protocol := port.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			found = append(found, NamedPort{Name: port.Name, Protocol: string(protocol), Number: uint16(port.ContainerPort)})
		}
	}
	return found
}

func listeners(slice *discoveryv1.EndpointSlice, protocol corev1.Protocol) []netip.AddrPort {
	var found []netip.AddrPort
	for _, endpoint := range slice.Endpoints {
		for _, text := range endpoint.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil || !address.Is4() {
				continue
			}
			for _, port := range slice.Ports {
				if port.Port != nil && (port.Protocol == nil || *port.Protocol == protocol) {
					found = append(found, netip.AddrPortFrom(address, uint16(*port.Port)))
				}
			}
		}
	}
	return found
}

// standIns are what a Service has without a pod: a process of the lab that does what a pod of AKS does. For policies it
// has the labels of the Service, which in AKS are those of the pods (kube-dns: k8s-app=kube-dns).
func standIns(slice *discoveryv1.EndpointSlice, service *corev1.Service) []Endpoint {
	if service == nil || len(service.Spec.Selector) > 0 {
		return nil
	}
	var found []Endpoint
	for _, endpoint := range slice.Endpoints {
		if endpoint.TargetRef != nil {
			continue
		}
		for _, text := range endpoint.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil || !address.Is4() {
				klog.V(2).InfoS("passed over", "endpoint", text, "service", service.Name)
				continue
			}
			var ports []NamedPort
			for _, port := range slice.Ports {
				if port.Port != nil && port.Name != nil && port.Protocol != nil {
					ports = append(ports, NamedPort{Name: *port.Name, Protocol: string(*port.Protocol), Number: uint16(*port.Port)})
				}
			}
			found = append(found, Endpoint{
				Namespace: slice.Namespace, Name: service.Name, Address: address, Labels: service.Labels, Ports: ports, StandIn: true,
			})
		}
	}
	return found
}
