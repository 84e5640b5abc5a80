// Command envoy-gateway is Envoy Gateway as the lab runs it: `control-plane` starts its parts, and `envoy` is what its
// proxies run beside them. Two things are why `envoy-gateway server` does not do. Network policies of production let
// proxies ask their control plane on istiod's port; and on simulated nodes there is no proxy, no pod identity and no
// folder /certs, while Gateways need their conditions all the same.
//
// The name of this module is what lets it import the parts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/envoyproxy/gateway/cmd/envoy-gateway/root"
	"github.com/envoyproxy/gateway/internal/envoygateway/config"
	gatewayapi "github.com/envoyproxy/gateway/internal/gatewayapi/runner"
	infrastructure "github.com/envoyproxy/gateway/internal/infrastructure/runner"
	"github.com/envoyproxy/gateway/internal/logging"
	"github.com/envoyproxy/gateway/internal/message"
	provider "github.com/envoyproxy/gateway/internal/provider/runner"
	"github.com/envoyproxy/gateway/internal/xds/bootstrap"
	xds "github.com/envoyproxy/gateway/internal/xds/runner"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// What Envoy Gateway cannot start without.
var definitions = map[string][]string{
	gatewayv1.GroupVersion.String():      {"GatewayClass", "Gateway", "GRPCRoute", "HTTPRoute"},
	gatewayv1beta1.GroupVersion.String(): {"ReferenceGrant"},
}

type options struct {
	config        string
	namespace     string
	kubeconfig    string
	healthAddress string
	xdsAddress    string
}

func main() {
	command := root.GetRootCommand(nil)
	command.AddCommand(controlPlane())
	if err := command.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func controlPlane() *cobra.Command {
	var opts options
	command := &cobra.Command{
		Use:          "control-plane",
		Short:        "Serve the Gateways of a cluster",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), opts) },
	}
	flags := command.Flags()
	flags.StringVar(&opts.config, "config", "", "file with the EnvoyGateway")
	flags.StringVar(&opts.namespace, "namespace", "", "namespace of the control plane")
	flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "identity and address of the API server; none inside a pod")
	flags.StringVar(&opts.healthAddress, "health-address", "", "where /healthz answers")
	flags.StringVar(&opts.xdsAddress, "xds-address", "", "where proxies ask; without it no proxy runs")
	return command
}

func run(ctx context.Context, opts options) error {
	server, err := load(opts)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	if opts.healthAddress != "" {
		go func() { ended <- serveHealth(opts.healthAddress) }()
	}
	if err := awaitGatewayAPI(ctx); err != nil {
		return ignoreCancel(err)
	}
	if err := start(ctx, server, opts.xdsAddress != ""); err != nil {
		return err
	}
	if opts.xdsAddress != "" {
		go func() {
			ended <- forward(opts.xdsAddress, net.JoinHostPort("127.0.0.1", strconv.Itoa(bootstrap.DefaultXdsServerPort)))
		}()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

func load(opts options) (*config.Server, error) {
	server, err := config.New(os.Stdout, os.Stderr)
	if err != nil {
		return nil, err
	}
	if server.EnvoyGateway, err = config.Decode(opts.config); err != nil {
		return nil, err
	}
	server.EnvoyGateway.SetEnvoyGatewayDefaults()
	server.EnvoyGateway.Logging.SetEnvoyGatewayLoggingDefaults()
	server.Logger = logging.NewLogger(os.Stdout, server.EnvoyGateway.Logging)
	server.ControllerNamespace = opts.namespace
	if opts.kubeconfig != "" {
		if err := os.Setenv("KUBECONFIG", opts.kubeconfig); err != nil {
			return nil, err
		}
	}
	metrics.DefaultBindAddress = "0" // none: labs run side by side
	_, err = server.Validate()
	return server, err
}

// awaitGatewayAPI waits until the definitions are there: a cluster gets them with the feature, maybe never.
func awaitGatewayAPI(ctx context.Context) error {
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(restConfig)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		for version, kinds := range definitions {
			served, err := client.ServerResourcesForGroupVersion(version)
			if err != nil {
				return false, nil
			}
			for _, kind := range kinds {
				if !slices.ContainsFunc(served.APIResources, func(found metav1.APIResource) bool { return found.Kind == kind }) {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// start runs what `envoy-gateway server` runs, in its order, without what listens and nobody here asks.
func start(ctx context.Context, server *config.Server, proxies bool) error {
	resources, xdsIR, infraIR := new(message.ProviderResources), new(message.XdsIR), new(message.InfraIR)
	failures := new(message.RunnerErrors)
	runners := []interface{ Start(context.Context) error }{
		provider.New(&provider.Config{Server: *server, ProviderResources: resources, RunnerErrors: failures}),
		gatewayapi.New(&gatewayapi.Config{
			Server: *server, ProviderResources: resources, RunnerErrors: failures, XdsIR: xdsIR, InfraIR: infraIR,
		}),
	}
	if proxies {
		runners = append(runners, xds.New(&xds.Config{
			Server: *server, ProviderResources: resources, RunnerErrors: failures, XdsIR: xdsIR,
		}))
	}
	runners = append(runners, infrastructure.New(&infrastructure.Config{
		Server: *server, InfraIR: infraIR, RunnerErrors: failures,
	}))
	for _, runner := range runners {
		if err := runner.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func serveHealth(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	return (&http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}).ListenAndServe()
}

// forward hands connections on to the port of Envoy Gateway, which cannot be chosen.
func forward(address, target string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		proxy, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = proxy.Close() }()
			server, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer func() { _ = server.Close() }()
			ended := make(chan struct{}, 2)
			for _, pair := range [][2]net.Conn{{proxy, server}, {server, proxy}} {
				go func() { _, _ = io.Copy(pair[0], pair[1]); ended <- struct{}{} }()
			}
			<-ended
		}()
	}
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
