// Command kube is the lab's Kubernetes control plane, the parts of its nodes and
// its client in one multi-call binary: the name it is called by (argv[0], or the first argument)
// says which component runs. One binary costs one link and shares its pages.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"audioprothese.platform/lab/kube/addons"
	"audioprothese.platform/lab/kube/csi"
	"audioprothese.platform/lab/kube/node"
	"audioprothese.platform/lab/kube/policies"
)

func component(name string) func() *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand
	case "kube-scheduler":
		return func() *cobra.Command { return scheduler.NewSchedulerCommand() }
	case "kube-proxy":
		return proxy.NewProxyCommand
	case "kubelet":
		return node.NewKubeletCommand
	case "aks-addons":
		return addons.NewCommand
	case "disk-csi-driver":
		return csi.NewCommand
	case "network-policies":
		return policies.NewCommand
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand
	}
	return nil
}

func main() {
	args := os.Args
	if filepath.Base(args[0]) == "kube" {
		args = args[1:]
	}
	if len(args) == 0 {
		fail("name a component as the first argument")
	}
	name := filepath.Base(args[0])
	os.Args = append([]string{name}, args[1:]...)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	newCommand := component(name)
	if newCommand == nil {
		fail(fmt.Sprintf("unknown component %q", name))
	}
	os.Exit(cli.Run(newCommand()))
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "kube: "+message)
	os.Exit(2)
}
