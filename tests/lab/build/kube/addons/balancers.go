package addons

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	cleanupFinalizer   = "service.kubernetes.io/load-balancer-cleanup"
	internalAnnotation = "service.beta.kubernetes.io/azure-load-balancer-internal"
	addressAnnotation  = "service.beta.kubernetes.io/azure-load-balancer-ipv4"
	// Addresses nobody owns: RFC 5737 for public ones, the end of AKS's default node network for internal ones.
	publicAddress   = "198.51.100.%d"
	internalAddress = "10.224.255.%d"
)

// balancers gives Services of type LoadBalancer an address, as the cloud controller manager would.
type balancers struct {
	client   kubernetes.Interface
	services corelisters.ServiceLister
	service  *loop
}

func newBalancers(client kubernetes.Interface, factory informers.SharedInformerFactory) *balancers {
	services := factory.Core().V1().Services()
	b := &balancers{client: client, services: services.Lister()}
	b.service = newLoop("services", b.reconcile)
	b.service.watch(services.Informer(), objectKey)
	return b
}

func (b *balancers) run(ctx context.Context) { b.service.run(ctx) }

func (b *balancers) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	service, err := b.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if service.Spec.LoadBalancerClass != nil {
		return nil
	}
	wanted := service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.DeletionTimestamp == nil
	if service, err = b.setFinalizer(ctx, service, wanted); err != nil {
		return err
	}
	return b.setAddress(ctx, service, wanted)
}

func (b *balancers) setFinalizer(ctx context.Context, service *corev1.Service, wanted bool) (*corev1.Service, error) {
	if slices.Contains(service.Finalizers, cleanupFinalizer) == wanted {
		return service, nil
	}
	service = service.DeepCopy()
	if wanted {
		service.Finalizers = append(service.Finalizers, cleanupFinalizer)
	} else {
		service.Finalizers = slices.DeleteFunc(service.Finalizers, func(name string) bool { return name == cleanupFinalizer })
	}
	updated, err := b.client.CoreV1().Services(service.Namespace).Update(ctx, service, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return service, nil
	}
	return updated, err
}

func (b *balancers) setAddress(ctx context.Context, service *corev1.Service, wanted bool) error {
	has := len(service.Status.LoadBalancer.Ingress) > 0
	if has == wanted || service.DeletionTimestamp != nil {
		return nil
	}
	service = service.DeepCopy()
	service.Status.LoadBalancer.Ingress = nil
	if wanted {
		mode := corev1.LoadBalancerIPModeVIP
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: b.address(service), IPMode: &mode}}
	}
	_, err := b.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	return err
}

func (b *balancers) address(service *corev1.Service) string {
	if asked := service.Annotations[addressAnnotation]; asked != "" {
		return asked
	}
	if asked := service.Spec.LoadBalancerIP; asked != "" {
		return asked
	}
	pattern := publicAddress
	if service.Annotations[internalAnnotation] == "true" {
		pattern = internalAddress
	}
	used := map[string]bool{}
	others, _ := b.services.List(labels.Everything())
	for _, other := range others {
		for _, ingress := range other.Status.LoadBalancer.Ingress {
			used[ingress.IP] = true
		}
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(service.Namespace + "/" + service.Name))
	for offset := range uint32(253) {
		candidate := fmt.Sprintf(pattern, (hash.Sum32()+offset)%253+1)
		if !used[candidate] {
			return candidate
		}
	}
	return fmt.Sprintf(pattern, 254)
}
