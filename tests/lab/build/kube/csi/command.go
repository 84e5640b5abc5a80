// Package csi is a thin driver of the name disk.csi.azure.com for nodes that run
// real containers on one machine: a disk is a sparse file with ext4 on it behind
// a loop device. It refuses what the driver of Azure Disk refuses, and it never
// lets the disks together write more than a budget.
//
// The interface: https://github.com/container-storage-interface/spec/blob/v1.9.0/spec.md
// The driver it stands for: https://github.com/kubernetes-sigs/azuredisk-csi-driver/tree/master/docs
package csi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	driverName = "disk.csi.azure.com"
	zoneKey    = "topology.disk.csi.azure.com/zone"
	gibibyte   = int64(1) << 30
)

type options struct {
	folder        string
	endpoint      string
	registry      string
	healthAddress string
	kubeconfig    string
	node          string
	zone          string
	maxDisks      int64
	budgetGiB     int64
	keepFreeGiB   int64
	scope         string
	encryption    string
	authority     string
}

// NewCommand returns the command line of the driver.
func NewCommand() *cobra.Command {
	var opts options
	command := &cobra.Command{
		Use:          "disk-csi-driver",
		Short:        "Play the Azure Disk driver with files of this machine",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(*cobra.Command, []string) error { return run(opts) },
	}
	flags := command.Flags()
	flags.StringVar(&opts.folder, "folder", "", "where the disks are kept")
	flags.StringVar(&opts.endpoint, "endpoint", "", "path of the socket of the driver")
	flags.StringVar(&opts.registry, "plugin-registry", "", "kubelet's plugins_registry folder; empty registers nowhere")
	flags.StringVar(&opts.healthAddress, "health-address", "", "where /healthz answers; empty for nowhere")
	flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "cluster whose nodes may have disks attached; without one only --node may")
	flags.StringVar(&opts.node, "node", "", "name of the node that this machine is")
	flags.StringVar(&opts.zone, "zone", "", "availability zone of the node; empty in a region without zones")
	flags.Int64Var(&opts.maxDisks, "max-disks", 8, "how many data disks the VM size of the node takes")
	flags.Int64Var(&opts.budgetGiB, "budget-gib", 20, "what all disks together may occupy on this machine, in GiB")
	flags.Int64Var(&opts.keepFreeGiB, "keep-free-gib", 2, "what stays free on this machine whatever the budget is, in GiB")
	flags.StringVar(&opts.scope, "resource-group-id", "", "ARM id of the resource group of the disks")
	flags.StringVar(&opts.encryption, "encryption-url", "", "where Azure says whether an encryption set may be used; empty asks nobody")
	flags.StringVar(&opts.authority, "authority", "", "certificate of the authority that this address has its own from")
	return command
}

func run(opts options) error {
	for flag, value := range map[string]string{"--folder": opts.folder, "--endpoint": opts.endpoint, "--node": opts.node} {
		if value == "" {
			return errors.New(flag + " is needed")
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := os.MkdirAll(opts.folder, 0o700); err != nil {
		return err
	}
	disks := newStore(opts.folder, opts.scope)
	if err := disks.open(); err != nil {
		return err
	}
	attachable, err := newNodes(opts)
	if err != nil {
		return err
	}
	encrypting, err := newEncryption(opts.encryption, opts.authority)
	if err != nil {
		return err
	}
	guard := newGuard(disks, opts.budgetGiB*gibibyte, opts.keepFreeGiB*gibibyte)
	go guard.run(ctx)

	server := grpc.NewServer(grpc.UnaryInterceptor(logged))
	locks := newLocks()
	csi.RegisterIdentityServer(server, identity{})
	csi.RegisterControllerServer(server, &controller{disks: disks, nodes: attachable, locks: locks, zone: opts.zone, encryption: encrypting})
	csi.RegisterNodeServer(server, newNode(disks, guard, locks, opts))
	ended := make(chan error, 3)
	if err := serve(server, opts.endpoint, ended); err != nil {
		return err
	}
	if opts.registry != "" {
		kubelet := grpc.NewServer()
		registration.RegisterRegistrationServer(kubelet, &registrar{endpoint: opts.endpoint})
		if err := serve(kubelet, filepath.Join(opts.registry, driverName+"-reg.sock"), ended); err != nil {
			return err
		}
		defer kubelet.GracefulStop()
	}
	if opts.healthAddress != "" {
		if err := serveHealth(opts.healthAddress, ended); err != nil {
			return err
		}
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	server.GracefulStop()
	return err
}

// serve answers on a socket, also where a killed driver left one.
func serve(server *grpc.Server, path string, ended chan<- error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() { ended <- server.Serve(listener) }()
	return nil
}

func serveHealth(address string, ended chan<- error) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { ended <- server.Serve(listener) }()
	return nil
}

func logged(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	answer, err := handler(ctx, request)
	if err != nil {
		klog.ErrorS(err, "refused", "method", info.FullMethod)
	}
	return answer, err
}
