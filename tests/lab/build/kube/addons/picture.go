package addons

import (
	"context"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

type listenerKey struct{ gateway, listener string }

// picture is one consistent look at every Gateway and route, and the conditions that follow from it.
type picture struct {
	*gateways
	grants   []*gatewayv1beta1.ReferenceGrant
	mine     map[string]*gatewayv1.Gateway
	attached map[listenerKey]int32
}

func setCondition(conditions *[]metav1.Condition, generation int64, kind string, holds bool, reason, message string) {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: generation,
	})
}

func (p *picture) gateway(ctx context.Context, gateway *gatewayv1.Gateway) error {
	if err := p.ensureInfrastructure(ctx, gateway); err != nil {
		return err
	}
	before := gateway.DeepCopy()
	status := &gateway.Status
	setCondition(&status.Conditions, gateway.Generation, "Accepted", true, "Accepted", "Resource accepted")
	status.Addresses = nil
	if service := p.serviceOf(gateway); service != nil {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			kind := gatewayv1.IPAddressType
			status.Addresses = append(status.Addresses, gatewayv1.GatewayStatusAddress{Type: &kind, Value: ingress.IP})
		}
	}
	if len(status.Addresses) > 0 {
		setCondition(&status.Conditions, gateway.Generation, "Programmed", true, "Programmed", "Resource programmed, assigned to service "+infrastructureName(gateway))
	} else {
		setCondition(&status.Conditions, gateway.Generation, "Programmed", false, "AddressNotAssigned", "The Service has no address yet")
	}
	var listeners []gatewayv1.ListenerStatus
	for _, listener := range gateway.Spec.Listeners {
		listeners = append(listeners, p.listener(gateway, listener))
	}
	status.Listeners = listeners
	return p.writeStatus(ctx, gatewayResource, gateway, before.Status, gateway.Status)
}

func (p *picture) listener(gateway *gatewayv1.Gateway, listener gatewayv1.Listener) gatewayv1.ListenerStatus {
	group := gatewayv1.Group(gatewayv1.GroupName)
	result := gatewayv1.ListenerStatus{
		Name:           listener.Name,
		SupportedKinds: []gatewayv1.RouteGroupKind{{Group: &group, Kind: "HTTPRoute"}, {Group: &group, Kind: "GRPCRoute"}},
		AttachedRoutes: p.attached[listenerKey{gateway.Namespace + "/" + gateway.Name, string(listener.Name)}],
	}
	for _, known := range gateway.Status.Listeners {
		if known.Name == listener.Name {
			result.Conditions = known.Conditions
		}
	}
	generation := gateway.Generation
	setCondition(&result.Conditions, generation, "Accepted", true, "Accepted", "No errors found")
	setCondition(&result.Conditions, generation, "Conflicted", false, "NoConflicts", "No errors found")
	reason, message := p.certificateProblem(gateway, listener)
	if reason == "" {
		setCondition(&result.Conditions, generation, "ResolvedRefs", true, "ResolvedRefs", "No errors found")
		setCondition(&result.Conditions, generation, "Programmed", true, "Programmed", "No errors found")
	} else {
		setCondition(&result.Conditions, generation, "ResolvedRefs", false, reason, message)
		setCondition(&result.Conditions, generation, "Programmed", false, "Invalid", message)
	}
	return result
}

// certificateProblem says why a listener's certificates cannot be used; an empty reason means they can.
func (p *picture) certificateProblem(gateway *gatewayv1.Gateway, listener gatewayv1.Listener) (reason, message string) {
	if listener.TLS == nil {
		return "", ""
	}
	for _, reference := range listener.TLS.CertificateRefs {
		namespace := gateway.Namespace
		if reference.Namespace != nil {
			namespace = string(*reference.Namespace)
		}
		if namespace != gateway.Namespace && !p.granted("Gateway", gateway.Namespace, "", "Secret", namespace, string(reference.Name)) {
			return "RefNotPermitted", "no ReferenceGrant lets the Gateway read secret " + namespace + "/" + string(reference.Name)
		}
		secret, err := p.secrets.Secrets(namespace).Get(string(reference.Name))
		if err != nil {
			return "InvalidCertificateRef", "secret " + namespace + "/" + string(reference.Name) + " not found"
		}
		if len(secret.Data[corev1.TLSCertKey]) == 0 || len(secret.Data[corev1.TLSPrivateKeyKey]) == 0 {
			return "InvalidCertificateRef", "secret " + namespace + "/" + string(reference.Name) + " holds no certificate and key"
		}
	}
	return "", ""
}

func (p *picture) granted(fromKind, fromNamespace, toGroup, toKind, toNamespace, toName string) bool {
	for _, grant := range p.grants {
		if grant.Namespace != toNamespace {
			continue
		}
		from, to := false, false
		for _, origin := range grant.Spec.From {
			from = from || (string(origin.Kind) == fromKind && string(origin.Namespace) == fromNamespace)
		}
		for _, target := range grant.Spec.To {
			named := target.Name == nil || string(*target.Name) == toName
			to = to || (string(target.Group) == toGroup && string(target.Kind) == toKind && named)
		}
		if from && to {
			return true
		}
	}
	return false
}

// route writes what each of our Gateways says to one HTTPRoute.
func (p *picture) route(ctx context.Context, route *gatewayv1.HTTPRoute) error {
	before := route.DeepCopy()
	var parents []gatewayv1.RouteParentStatus
	for _, known := range route.Status.Parents {
		if known.ControllerName != gatewayController {
			parents = append(parents, known)
		}
	}
	for _, reference := range route.Spec.ParentRefs {
		namespace := route.Namespace
		if reference.Namespace != nil {
			namespace = string(*reference.Namespace)
		}
		gateway := p.mine[namespace+"/"+string(reference.Name)]
		if gateway == nil || (reference.Kind != nil && *reference.Kind != "Gateway") {
			continue
		}
		status := gatewayv1.RouteParentStatus{ParentRef: reference, ControllerName: gatewayController}
		for _, known := range before.Status.Parents {
			if known.ControllerName == gatewayController && reflect.DeepEqual(known.ParentRef, reference) {
				status.Conditions = append(status.Conditions, known.Conditions...)
			}
		}
		reason, message := p.attach(gateway, route, reference)
		setCondition(&status.Conditions, route.Generation, "Accepted", reason == "", orDefault(reason, "Accepted"), orDefault(message, "Route was valid"))
		reason, message = p.backendProblem(route)
		setCondition(&status.Conditions, route.Generation, "ResolvedRefs", reason == "", orDefault(reason, "ResolvedRefs"), orDefault(message, "All references resolved"))
		parents = append(parents, status)
	}
	route.Status.Parents = parents
	return p.writeStatus(ctx, routeResource, route, before.Status, route.Status)
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// attach counts the route at every listener that takes it; a reason says why none does.
func (p *picture) attach(gateway *gatewayv1.Gateway, route *gatewayv1.HTTPRoute, reference gatewayv1.ParentReference) (reason, message string) {
	reason, message = "NoMatchingParent", "no listener of that name or port"
	taken := false
	for _, listener := range gateway.Spec.Listeners {
		if reference.SectionName != nil && *reference.SectionName != listener.Name {
			continue
		}
		if reference.Port != nil && *reference.Port != listener.Port {
			continue
		}
		if !p.allowed(gateway, listener, route.Namespace) {
			reason, message = "NotAllowedByListeners", "the listeners do not take routes of namespace "+route.Namespace
			continue
		}
		if !hostnamesMeet(listener.Hostname, route.Spec.Hostnames) {
			reason, message = "NoMatchingListenerHostname", "no hostname of the route is one of the listener"
			continue
		}
		p.attached[listenerKey{gateway.Namespace + "/" + gateway.Name, string(listener.Name)}]++
		taken = true
	}
	if taken {
		return "", ""
	}
	return reason, message
}

func (p *picture) allowed(gateway *gatewayv1.Gateway, listener gatewayv1.Listener, namespace string) bool {
	from := gatewayv1.NamespacesFromSame
	var chosen *metav1.LabelSelector
	if listener.AllowedRoutes != nil && listener.AllowedRoutes.Namespaces != nil {
		if listener.AllowedRoutes.Namespaces.From != nil {
			from = *listener.AllowedRoutes.Namespaces.From
		}
		chosen = listener.AllowedRoutes.Namespaces.Selector
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(chosen)
		found, missing := p.namespaces.Get(namespace)
		return err == nil && missing == nil && selector.Matches(labels.Set(found.Labels))
	}
	return namespace == gateway.Namespace
}

func hostnamesMeet(listener *gatewayv1.Hostname, hostnames []gatewayv1.Hostname) bool {
	if listener == nil || *listener == "" || len(hostnames) == 0 {
		return true
	}
	for _, hostname := range hostnames {
		if covers(string(*listener), string(hostname)) || covers(string(hostname), string(*listener)) {
			return true
		}
	}
	return false
}

func covers(pattern, name string) bool {
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(name, suffix) && name != suffix
	}
	return pattern == name
}

// backendProblem says which backend of a route cannot be used.
func (p *picture) backendProblem(route *gatewayv1.HTTPRoute) (reason, message string) {
	for _, rule := range route.Spec.Rules {
		for _, backend := range rule.BackendRefs {
			if backend.Kind != nil && *backend.Kind != "Service" {
				return "InvalidKind", "a backend is a Service"
			}
			namespace := route.Namespace
			if backend.Namespace != nil {
				namespace = string(*backend.Namespace)
			}
			name := string(backend.Name)
			if namespace != route.Namespace && !p.granted("HTTPRoute", route.Namespace, "", "Service", namespace, name) {
				return "RefNotPermitted", "no ReferenceGrant lets the route use service " + namespace + "/" + name
			}
			if _, err := p.services.Services(namespace).Get(name); err != nil {
				return "BackendNotFound", "service " + namespace + "/" + name + " not found"
			}
		}
	}
	return "", ""
}
