package addons

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	diskDriver            = "disk.csi.azure.com"
	fileDriver            = "file.csi.azure.com"
	diskZoneLabel         = "topology.disk.csi.azure.com/zone"
	provisionerAnnotation = "volume.kubernetes.io/storage-provisioner"
	selectedNode          = "volume.kubernetes.io/selected-node"
	provisionedBy         = "pv.kubernetes.io/provisioned-by"
	gibibyte              = int64(1) << 30
)

// disks binds the claims of the drivers of AKS, as an external provisioner and resizer would.
type disks struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	nodes   corelisters.NodeLister
	classes storagelisters.StorageClassLister
	opts    options
	claim   *loop
	volume  *loop
}

func newDisks(client kubernetes.Interface, factory informers.SharedInformerFactory, opts options) *disks {
	core, storage := factory.Core().V1(), factory.Storage().V1()
	d := &disks{
		client:  client,
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		nodes:   core.Nodes().Lister(),
		classes: storage.StorageClasses().Lister(),
		opts:    opts,
	}
	d.claim = newLoop("claims", d.reconcileClaim)
	d.volume = newLoop("volumes", d.reconcileVolume)
	d.claim.watch(core.PersistentVolumeClaims().Informer(), objectKey)
	d.volume.watch(core.PersistentVolumes().Informer(), objectKey)
	core.Nodes().Informer()
	storage.StorageClasses().Informer()
	return d
}

func (d *disks) run(ctx context.Context) {
	go d.volume.run(ctx)
	d.claim.run(ctx)
}

func (d *disks) reconcileClaim(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	claim, err := d.claims.PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if claim.DeletionTimestamp != nil {
		return nil
	}
	if claim.Spec.VolumeName != "" {
		return d.grow(ctx, claim)
	}
	driver := claim.Annotations[provisionerAnnotation]
	if !d.plays(driver) {
		return nil
	}
	class, err := d.classes.Get(className(claim))
	if err != nil {
		return err
	}
	node := claim.Annotations[selectedNode]
	if node == "" && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer {
		return nil
	}
	volume, err := d.volumeFor(claim, class, node)
	if err != nil {
		return err
	}
	_, err = d.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func className(claim *corev1.PersistentVolumeClaim) string {
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return claim.Annotations[corev1.BetaStorageClassAnnotation]
}

func (d *disks) volumeFor(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) (*corev1.PersistentVolume, error) {
	name := "pvc-" + string(claim.UID)
	mode := corev1.PersistentVolumeFilesystem
	if claim.Spec.VolumeMode != nil {
		mode = *claim.Spec.VolumeMode
	}
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: class.Provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: wholeGibibytes(claim.Spec.Resources.Requests[corev1.ResourceStorage])},
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			MountOptions:                  class.MountOptions,
			VolumeMode:                    &mode,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: class.Provisioner, VolumeHandle: d.handle(class.Provisioner, name), VolumeAttributes: class.Parameters,
			}},
		},
	}
	if class.Provisioner != diskDriver {
		return volume, nil
	}
	zone, err := d.zoneOf(node)
	if err != nil {
		return nil, err
	}
	if zone != "" && !strings.HasSuffix(class.Parameters["skuName"], "_ZRS") && !strings.HasSuffix(class.Parameters["skuname"], "_ZRS") {
		volume.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: diskZoneLabel, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}},
			}}},
		}}
	}
	return volume, nil
}

func (d *disks) handle(driver, name string) string {
	if driver == fileDriver {
		return fmt.Sprintf("%s#f%.20s#%s###default", d.opts.nodeGroup, strings.ReplaceAll(name, "-", ""), name)
	}
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/disks/%s", d.opts.subscriptionID, d.opts.nodeGroup, name)
}

func (d *disks) zoneOf(node string) (string, error) {
	if node == "" {
		return "", nil
	}
	found, err := d.nodes.Get(node)
	if err != nil {
		return "", err
	}
	return found.Labels[diskZoneLabel], nil
}

func wholeGibibytes(request resource.Quantity) resource.Quantity {
	count := (request.Value() + gibibyte - 1) / gibibyte
	return *resource.NewQuantity(count*gibibyte, resource.BinarySI)
}

// grow gives a bound claim what it asks for beyond what it has.
func (d *disks) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Status.Phase != corev1.ClaimBound {
		return nil
	}
	wanted := wholeGibibytes(claim.Spec.Resources.Requests[corev1.ResourceStorage])
	if has := claim.Status.Capacity[corev1.ResourceStorage]; wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := d.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return err
	}
	if !d.plays(volume.Annotations[provisionedBy]) {
		return nil
	}
	volume = volume.DeepCopy()
	volume.Spec.Capacity[corev1.ResourceStorage] = wanted
	if _, err = d.client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
		return err
	}
	claim = claim.DeepCopy()
	claim.Status.Capacity[corev1.ResourceStorage] = wanted
	_, err = d.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

func (d *disks) reconcileVolume(ctx context.Context, name string) error {
	volume, err := d.volumes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if volume.DeletionTimestamp != nil || volume.Status.Phase != corev1.VolumeReleased || !d.plays(volume.Annotations[provisionedBy]) ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	err = d.client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// plays says whether the add-ons stand for a driver; where nodes are real, that of disks is too.
func (d *disks) plays(driver string) bool {
	return driver == fileDriver || (driver == diskDriver && !d.opts.realDisks)
}
