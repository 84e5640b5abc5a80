package csi

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// nodes says how many disks a node takes; known is false where there is no such node.
type nodes interface {
	mostDisks(ctx context.Context, name string) (count int64, known bool, err error)
}

func newNodes(opts options) (nodes, error) {
	if opts.kubeconfig == "" {
		return onlyNode{opts.node, opts.maxDisks}, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", opts.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	return clusterNodes{client}, err
}

// onlyNode is the node of a driver without a cluster.
type onlyNode struct {
	name string
	most int64
}

func (o onlyNode) mostDisks(_ context.Context, name string) (int64, bool, error) {
	return o.most, name == o.name, nil
}

// clusterNodes are the nodes that have the driver, simulated ones too: to those a disk is attached in the API only.
type clusterNodes struct{ client kubernetes.Interface }

func (c clusterNodes) mostDisks(ctx context.Context, name string) (int64, bool, error) {
	found, err := c.client.StorageV1().CSINodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	for _, driver := range found.Spec.Drivers {
		if driver.Name == driverName && driver.Allocatable != nil && driver.Allocatable.Count != nil {
			return int64(*driver.Allocatable.Count), true, nil
		}
	}
	return 0, false, nil
}
