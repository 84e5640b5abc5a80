package addons

import (
	"context"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// The name by which application routing claims its classes; its control plane is Istio's.
const gatewayController = "istio.io/gateway-controller"

var (
	classResource   = gatewayv1.SchemeGroupVersion.WithResource("gatewayclasses")
	gatewayResource = gatewayv1.SchemeGroupVersion.WithResource("gateways")
	routeResource   = gatewayv1.SchemeGroupVersion.WithResource("httproutes")
	grantResource   = gatewayv1beta1.SchemeGroupVersion.WithResource("referencegrants")
)

// gateways plays the control plane of application routing. Clusters of the lab
// are small, so any change brings everything up to date: one key, one picture.
type gateways struct {
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	factory    dynamicinformer.DynamicSharedInformerFactory
	secrets    corelisters.SecretLister
	services   corelisters.ServiceLister
	namespaces corelisters.NamespaceLister
	changed    *loop
}

func newGateways(client kubernetes.Interface, dynamicClient dynamic.Interface, factory informers.SharedInformerFactory) *gateways {
	core := factory.Core().V1()
	g := &gateways{
		client:     client,
		dynamic:    dynamicClient,
		factory:    dynamicinformer.NewDynamicSharedInformerFactory(dynamicClient, 0),
		secrets:    core.Secrets().Lister(),
		services:   core.Services().Lister(),
		namespaces: core.Namespaces().Lister(),
	}
	g.changed = newLoop("gateways", func(ctx context.Context, _ string) error { return g.reconcile(ctx) })
	everything := func(any) string { return "all" }
	g.changed.watch(core.Secrets().Informer(), everything)
	g.changed.watch(core.Services().Informer(), everything)
	g.changed.watch(core.Namespaces().Informer(), everything)
	for _, resource := range []schema.GroupVersionResource{classResource, gatewayResource, routeResource, grantResource} {
		g.changed.watch(g.factory.ForResource(resource).Informer(), everything)
	}
	return g
}

// run waits for the Gateway API to be installed, then serves it.
func (g *gateways) run(ctx context.Context) {
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		served, err := g.client.Discovery().ServerResourcesForGroupVersion(gatewayv1beta1.SchemeGroupVersion.String())
		return err == nil && len(served.APIResources) >= 4, nil
	})
	if err != nil {
		return
	}
	g.factory.Start(ctx.Done())
	g.factory.WaitForCacheSync(ctx.Done())
	klog.InfoS("serving the Gateway API")
	g.changed.queue.Add("all")
	g.changed.run(ctx)
}

func listOf[T any](g *gateways, resource schema.GroupVersionResource) ([]*T, error) {
	found, err := g.factory.ForResource(resource).Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var typed []*T
	for _, object := range found {
		item := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.(*unstructured.Unstructured).Object, item); err != nil {
			return nil, err
		}
		typed = append(typed, item)
	}
	return typed, nil
}

func (g *gateways) reconcile(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), g.factory.ForResource(routeResource).Informer().HasSynced) {
		return nil
	}
	classes, err := listOf[gatewayv1.GatewayClass](g, classResource)
	if err != nil {
		return err
	}
	all, err := listOf[gatewayv1.Gateway](g, gatewayResource)
	if err != nil {
		return err
	}
	routes, err := listOf[gatewayv1.HTTPRoute](g, routeResource)
	if err != nil {
		return err
	}
	grants, err := listOf[gatewayv1beta1.ReferenceGrant](g, grantResource)
	if err != nil {
		return err
	}
	picture := &picture{gateways: g, grants: grants, mine: map[string]*gatewayv1.Gateway{}, attached: map[listenerKey]int32{}}
	accepted := map[string]bool{}
	for _, class := range classes {
		if class.Spec.ControllerName == gatewayController {
			accepted[class.Name] = true
			if err := g.acceptClass(ctx, class); err != nil {
				return err
			}
		}
	}
	for _, gateway := range all {
		if accepted[string(gateway.Spec.GatewayClassName)] && gateway.DeletionTimestamp == nil {
			picture.mine[gateway.Namespace+"/"+gateway.Name] = gateway
		}
	}
	for _, route := range routes {
		if err := picture.route(ctx, route); err != nil {
			return err
		}
	}
	for _, gateway := range picture.mine {
		if err := picture.gateway(ctx, gateway); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateways) acceptClass(ctx context.Context, class *gatewayv1.GatewayClass) error {
	before := class.DeepCopy()
	setCondition(&class.Status.Conditions, class.Generation, "Accepted", true, "Accepted", "Handled by application routing")
	return g.writeStatus(ctx, classResource, class, before.Status, class.Status)
}

// writeStatus writes the status of an object when it changed.
func (g *gateways) writeStatus(ctx context.Context, resource schema.GroupVersionResource, object metav1.Object, before, after any) error {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	_, err = g.dynamic.Resource(resource).Namespace(object.GetNamespace()).
		UpdateStatus(ctx, &unstructured.Unstructured{Object: content}, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (g *gateways) serviceOf(gateway *gatewayv1.Gateway) *corev1.Service {
	service, err := g.services.Services(gateway.Namespace).Get(infrastructureName(gateway))
	if err != nil {
		return nil
	}
	return service
}

func infrastructureName(gateway *gatewayv1.Gateway) string {
	return gateway.Name + "-" + string(gateway.Spec.GatewayClassName)
}
