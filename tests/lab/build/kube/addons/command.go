// Package addons plays the managed parts of AKS that only show in the API:
// the disk and file drivers (claims get bound, grow and go) and the cloud
// controller (Services of type LoadBalancer get an address).
//
// No packet is moved and no byte stored: what it writes is what those parts would
// write, so that rollouts and read-backs work.
package addons

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

type options struct {
	kubeconfig     string
	healthAddress  string
	subscriptionID string
	nodeGroup      string
	zonePrefix     string
	realDisks      bool
}

// NewCommand returns the command line of the add-ons.
func NewCommand() *cobra.Command {
	var opts options
	command := &cobra.Command{
		Use:           "aks-addons",
		Short:         "Play the managed parts of AKS that show in the API",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), opts)
		},
	}
	flags := command.Flags()
	flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "identity and address of the API server")
	flags.StringVar(&opts.healthAddress, "health-address", "127.0.0.1:0", "where /healthz answers")
	flags.StringVar(&opts.subscriptionID, "subscription", "", "subscription of the disks")
	flags.BoolVar(&opts.realDisks, "real-disks", false, "leave disks to a driver that runs beside")
	flags.StringVar(&opts.nodeGroup, "node-resource-group", "", "resource group of the disks")
	return command
}

func run(ctx context.Context, opts options) error {
	if ctx == nil {
		ctx = context.Background()
	}
	config, err := clientcmd.BuildConfigFromFlags("", opts.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", opts.healthAddress)
	if err != nil {
		return err
	}

	factory := informers.NewSharedInformerFactory(client, 0)
	disks := newDisks(client, factory, opts)
	balancers := newBalancers(client, factory)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go disks.run(ctx)
	go balancers.run(ctx)

	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// loop is a work queue of object keys and the function that brings one object up to date.
type loop struct {
	name      string
	queue     workqueue.TypedRateLimitingInterface[string]
	reconcile func(ctx context.Context, key string) error
}

func newLoop(name string, reconcile func(ctx context.Context, key string) error) *loop {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 10*time.Second)
	return &loop{name: name, queue: workqueue.NewTypedRateLimitingQueue(limiter), reconcile: reconcile}
}

// watch puts the key of every changed object into the queue; key may map it to another.
func (l *loop) watch(informer cache.SharedIndexInformer, key func(object any) string) {
	add := func(object any) {
		if deleted, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = deleted.Obj
		}
		if name := key(object); name != "" {
			l.queue.Add(name)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
		DeleteFunc: add,
	})
	if err != nil {
		klog.ErrorS(err, "cannot watch", "loop", l.name)
	}
}

func (l *loop) run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		l.queue.ShutDown()
	}()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		for l.next(ctx) {
		}
	}, time.Second)
}

func (l *loop) next(ctx context.Context) bool {
	key, stop := l.queue.Get()
	if stop {
		return false
	}
	defer l.queue.Done(key)
	if err := l.reconcile(ctx, key); err != nil {
		klog.ErrorS(err, "will try again", "loop", l.name, "object", key)
		l.queue.AddRateLimited(key)
		return true
	}
	l.queue.Forget(key)
	return true
}

func objectKey(object any) string {
	key, err := cache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return ""
	}
	return key
}
