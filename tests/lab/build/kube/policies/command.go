package policies

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/knftables"
)

type options struct {
	kubeconfig    string
	healthAddress string
	podRanges     []string
	outside       []string
	resync        time.Duration
}

// NewCommand returns the command line of the enforcer.
func NewCommand() *cobra.Command {
	var opts options
	command := &cobra.Command{
		Use:          "network-policies",
		Short:        "Enforce network policies with nftables, in the network namespace it runs in",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, opts)
		},
	}
	flags := command.Flags()
	flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "identity and address of the API server")
	flags.StringVar(&opts.healthAddress, "health-address", "127.0.0.1:0", "where /healthz answers")
	flags.StringSliceVar(&opts.podRanges, "pod-cidr", nil, "where pods get their addresses from; what has one is cut off until its pod is known")
	flags.StringSliceVar(&opts.outside, "outside", nil, "address:port of the node behind which the outside is (the link to the simulated Azure)")
	flags.DurationVar(&opts.resync, "resync", 15*time.Second, "how often the rules are written anew although nothing changed")
	return command
}

// enforcer brings the rules up to date, one change after the other.
type enforcer struct {
	nft       knftables.Interface
	watcher   *watcher
	names     *names
	podRanges []netip.Prefix
	outside   []netip.AddrPort
	wake      chan struct{}
	problem   atomic.Pointer[string]
	warnings  []string
	pods      []netip.Addr
}

func run(ctx context.Context, opts options) error {
	ranges, err := parseRanges(opts.podRanges)
	if err != nil {
		return err
	}
	outside, err := parseOutside(opts.outside)
	if err != nil {
		return err
	}
	nft, err := knftables.New(knftables.IPv4Family, TableName)
	if err != nil {
		return fmt.Errorf("nftables cannot be used here (it takes root and the program nft): %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", opts.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", opts.healthAddress)
	if err != nil {
		return err
	}

	e := &enforcer{nft: nft, podRanges: ranges, outside: outside, wake: make(chan struct{}, 1)}
	e.watcher, e.names = newWatcher(client, dynamicClient, e.changed), newNames(e.changed)
	e.report("the objects of the cluster are not known yet")
	if err := e.cutOff(ctx); err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(e.health), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "health is not served any more")
		}
	}()
	defer server.Close()
	if err := e.watcher.start(ctx, client.Discovery()); err != nil {
		return nil
	}
	go e.names.run(ctx)
	e.enforce(ctx, opts.resync)
	return nil
}

func parseRanges(given []string) ([]netip.Prefix, error) {
	if len(given) == 0 {
		return nil, errors.New("--pod-cidr is missing: without it a new pod would be open until its rules are written")
	}
	var found []netip.Prefix
	for _, text := range given {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pod-cidr: %w", err)
		}
		found = append(found, prefix.Masked())
	}
	return found, nil
}

func parseOutside(given []string) ([]netip.AddrPort, error) {
	var found []netip.AddrPort
	for _, text := range given {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("--outside: %w", err)
		}
		found = append(found, server)
	}
	return found, nil
}

// cutOff refuses everything to pods unless rules of an earlier run are in force: these stay until the new ones are known.
func (e *enforcer) cutOff(ctx context.Context) error {
	if _, err := e.nft.List(ctx, "chains"); !knftables.IsNotFound(err) {
		return err
	}
	return e.write(ctx, compile(State{PodRanges: e.podRanges}))
}

func (e *enforcer) write(ctx context.Context, set RuleSet) error {
	tx := e.nft.NewTransaction()
	render(tx, set)
	return e.nft.Run(ctx, tx)
}

// changed never blocks: changes that come while rules are written are one more round.
func (e *enforcer) changed() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *enforcer) enforce(ctx context.Context, resync time.Duration) {
	ticker := time.NewTicker(resync)
	defer ticker.Stop()
	for {
		if err := e.once(ctx); err != nil {
			klog.ErrorS(err, "the rules in force are not up to date")
			e.report(err.Error())
			time.AfterFunc(time.Second, e.changed)
		} else {
			e.report("")
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-ticker.C:
		}
	}
}

func (e *enforcer) once(ctx context.Context) error {
	state, servers, err := e.watcher.state(e.podRanges)
	if err != nil {
		return err
	}
	state.Outside = e.outside
	if news := slices.ContainsFunc(state.Endpoints, func(one Endpoint) bool { return !slices.Contains(e.pods, one.Address) }); news {
		if err := e.watcher.askForPolicies(ctx, &state); err != nil {
			return err
		}
	}
	e.names.want(wantedNames(state.CiliumPolicies), servers)
	state.Names = e.names.addresses()
	set := compile(state)
	if !slices.Equal(set.Warnings, e.warnings) {
		e.warnings = set.Warnings
		for _, warning := range set.Warnings {
			klog.Warning(warning)
		}
	}
	if err := e.write(ctx, set); err != nil {
		return err
	}
	e.pods = set.Pods
	return nil
}

func (e *enforcer) report(problem string) { e.problem.Store(&problem) }

func (e *enforcer) health(w http.ResponseWriter, _ *http.Request) {
	if problem := *e.problem.Load(); problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok"))
}
