package addons

import (
	"context"
	"reflect"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// statusPort is where a gateway's proxy answers readiness probes.
const statusPort = 15021

// ensureInfrastructure keeps what application routing makes of each Gateway: a
// Deployment of the proxy, its Service, HorizontalPodAutoscaler and
// PodDisruptionBudget, all named NAME-CLASS and owned by the Gateway.
// https://learn.microsoft.com/azure/aks/app-routing-gateway-api
func (g *gateways) ensureInfrastructure(ctx context.Context, gateway *gatewayv1.Gateway) error {
	controller := true
	meta := metav1.ObjectMeta{
		Name:      infrastructureName(gateway),
		Namespace: gateway.Namespace,
		Labels: map[string]string{
			"gateway.networking.k8s.io/gateway-name":       gateway.Name,
			"gateway.networking.k8s.io/gateway-class-name": string(gateway.Spec.GatewayClassName),
			"gateway.istio.io/managed":                     "istio.io-gateway-controller",
		},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: gatewayv1.SchemeGroupVersion.String(), Kind: "Gateway", Name: gateway.Name, UID: gateway.UID, Controller: &controller,
		}},
	}
	if gateway.Spec.Infrastructure != nil {
		for key, value := range gateway.Spec.Infrastructure.Labels {
			meta.Labels[string(key)] = string(value)
		}
		if len(gateway.Spec.Infrastructure.Annotations) > 0 {
			meta.Annotations = map[string]string{}
		}
		for key, value := range gateway.Spec.Infrastructure.Annotations {
			meta.Annotations[string(key)] = string(value)
		}
	}
	if err := g.ensureService(ctx, gateway, meta); err != nil {
		return err
	}
	selector := map[string]string{"gateway.networking.k8s.io/gateway-name": gateway.Name}
	create := metav1.CreateOptions{}
	apps, scaling, policy := g.client.AppsV1(), g.client.AutoscalingV2(), g.client.PolicyV1()
	if _, err := g.client.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, create); failed(err) {
		return err
	}
	if _, err := apps.Deployments(meta.Namespace).Create(ctx, proxyDeployment(meta, selector), create); failed(err) {
		return err
	}
	if _, err := scaling.HorizontalPodAutoscalers(meta.Namespace).Create(ctx, proxyAutoscaler(meta), create); failed(err) {
		return err
	}
	one := intstr.FromInt32(1)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: selector},
	}}
	if _, err := policy.PodDisruptionBudgets(meta.Namespace).Create(ctx, budget, create); failed(err) {
		return err
	}
	return nil
}

func failed(err error) bool { return err != nil && !apierrors.IsAlreadyExists(err) }

func (g *gateways) ensureService(ctx context.Context, gateway *gatewayv1.Gateway, meta metav1.ObjectMeta) error {
	ports := []corev1.ServicePort{{Name: "status-port", Port: statusPort, TargetPort: intstr.FromInt32(statusPort), Protocol: corev1.ProtocolTCP}}
	seen := map[int32]bool{statusPort: true}
	for _, listener := range gateway.Spec.Listeners {
		port := int32(listener.Port)
		if !seen[port] {
			seen[port] = true
			application := string(listener.Protocol)
			ports = append(ports, corev1.ServicePort{
				Name: portName(listener), Port: port, TargetPort: intstr.FromInt32(port), Protocol: corev1.ProtocolTCP, AppProtocol: appProtocol(application),
			})
		}
	}
	existing := g.serviceOf(gateway)
	if existing == nil {
		service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: ports,
			Selector: map[string]string{"gateway.networking.k8s.io/gateway-name": gateway.Name},
		}}
		_, err := g.client.CoreV1().Services(meta.Namespace).Create(ctx, service, metav1.CreateOptions{})
		if failed(err) {
			return err
		}
		return nil
	}
	if samePorts(existing.Spec.Ports, ports) {
		return nil
	}
	service := existing.DeepCopy()
	service.Spec.Ports = ports
	_, err := g.client.CoreV1().Services(meta.Namespace).Update(ctx, service, metav1.UpdateOptions{})
	return err
}

func portName(listener gatewayv1.Listener) string {
	if listener.Protocol == gatewayv1.HTTPSProtocolType {
		return "https-" + strconv.Itoa(int(listener.Port))
	}
	return "http-" + strconv.Itoa(int(listener.Port))
}

func appProtocol(protocol string) *string {
	name := "http"
	if protocol == string(gatewayv1.HTTPSProtocolType) {
		name = "https"
	}
	return &name
}

func samePorts(has, wanted []corev1.ServicePort) bool {
	numbers := func(ports []corev1.ServicePort) map[int32]bool {
		set := map[int32]bool{}
		for _, port := range ports {
			set[port.Port] = true
		}
		return set
	}
	return reflect.DeepEqual(numbers(has), numbers(wanted))
}

func proxyDeployment(meta metav1.ObjectMeta, selector map[string]string) *appsv1.Deployment {
	no, yes, user := false, true, int64(1337)
	labels := map[string]string{"service.istio.io/canonical-name": meta.Name}
	for key, value := range meta.Labels {
		labels[key] = value
	}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: selector},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: meta.Annotations},
			Spec: corev1.PodSpec{
				ServiceAccountName: meta.Name,
				SecurityContext: &corev1.PodSecurityContext{
					RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
				Containers: []corev1.Container{{
					Name:  "istio-proxy",
					Image: "mcr.microsoft.com/oss/v2/istio/proxyv2:lab",
					Ports: []corev1.ContainerPort{{Name: "status-port", ContainerPort: statusPort}},
					Resources: corev1.ResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
						Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
					},
					SecurityContext: &corev1.SecurityContext{
						AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsUser: &user, RunAsGroup: &user, RunAsNonRoot: &yes,
						Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					},
				}},
			},
		},
	}}
}

func proxyAutoscaler(meta metav1.ObjectMeta) *autoscalingv2.HorizontalPodAutoscaler {
	least, busy := int32(2), int32(80)
	return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: meta.Name},
		MinReplicas:    &least,
		MaxReplicas:    5,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &busy},
		}}},
	}}
}
