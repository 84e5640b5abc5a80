// Package node holds the parts of a real node that differ from what Kubernetes ships.
package node

import (
	"context"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	"github.com/spf13/cobra"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// capacity is what the node claims to have: that of the virtual machine it stands for.
type capacity struct {
	cadvisor.Interface
	cores  int
	memory uint64
}

func (c capacity) MachineInfo() (*cadvisorapi.MachineInfo, error) {
	info, err := c.Interface.MachineInfo()
	if err == nil {
		info.NumCores, info.MemoryCapacity = c.cores, c.memory
	}
	return info, err
}

// NewKubeletCommand returns the real kubelet, with two more flags: the processors and the memory of the
// virtual machine that the node stands for, so that the scheduler decides as it would there. Its other
// settings come from the file of --config alone.
func NewKubeletCommand() *cobra.Command {
	flags := options.NewKubeletFlags()
	var vm capacity
	command := &cobra.Command{
		Use:          "kubelet",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			return run(genericapiserver.SetupSignalContext(), flags, vm)
		},
	}
	flags.AddFlags(command.Flags())
	command.Flags().IntVar(&vm.cores, "vm-cores", 0, "processors of the virtual machine")
	command.Flags().Uint64Var(&vm.memory, "vm-memory", 0, "memory of the virtual machine in bytes")
	return command
}

func run(ctx context.Context, flags *options.KubeletFlags, vm capacity) error {
	if err := options.ValidateKubeletFlags(flags); err != nil {
		return err
	}
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, flags.KubeletConfigFile)
	if err != nil {
		return err
	}
	configuration, err := loader.Load(ctx)
	if err != nil {
		return err
	}
	gate := utilfeature.DefaultMutableFeatureGate
	if err := gate.SetFromMap(configuration.FeatureGates); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(&configuration.Logging, gate); err != nil {
		return err
	}
	server := &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *configuration}
	dependencies, err := app.UnsecuredDependencies(ctx, server, gate)
	if err != nil {
		return err
	}
	endpoint := server.ContainerRuntimeEndpoint
	roots := []string{cm.NodeAllocatableRoot(server.CgroupRoot, server.CgroupsPerQOS, server.CgroupDriver)}
	vm.Interface, err = cadvisor.New(cadvisor.NewImageFsInfoProvider(endpoint), server.RootDirectory, roots,
		cadvisor.UsingLegacyCadvisorStats(endpoint), server.LocalStorageCapacityIsolation)
	if err != nil {
		return err
	}
	dependencies.CAdvisorInterface = vm
	return app.Run(ctx, server, dependencies, gate)
}

