package csi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const testScope = "/subscriptions/s/resourceGroups/g"

func newTestController(t *testing.T) *controller {
	disks := newStore(t.TempDir(), testScope)
	return &controller{disks: disks, nodes: onlyNode{"node1", 2}, locks: newLocks(), zone: "francecentral-1"}
}

func mounted(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
}

func request(name string, gibs int64, parameters map[string]string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, Parameters: parameters, CapacityRange: &csi.CapacityRange{RequiredBytes: gibs * gib},
		VolumeCapabilities: []*csi.VolumeCapability{mounted(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)},
	}
}

func create(t *testing.T, c *controller, name string, gibs int64) *csi.Volume {
	t.Helper()
	answer, err := c.CreateVolume(context.Background(), request(name, gibs, nil))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Volume
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		parameters map[string]string
		want       codes.Code
	}{
		"nothing asked":               {nil, codes.OK},
		"AKS's own class":             {map[string]string{"skuname": "Premium_LRS"}, codes.OK},
		"names in any case":           {map[string]string{"skuName": "premiumv2_lrs", "cachingMode": "none"}, codes.OK},
		"encryption and tags":         {map[string]string{"diskEncryptionSetID": "/x", "tags": "a=b", "networkAccessPolicy": "DenyAll"}, codes.OK},
		"the provisioner's own":       {map[string]string{"csi.storage.k8s.io/pvc/name": "data"}, codes.OK},
		"unknown sku":                 {map[string]string{"skuname": "Premium_GRS"}, codes.InvalidArgument},
		"unknown parameter":           {map[string]string{"sku": "Premium_LRS"}, codes.InvalidArgument},
		"unknown caching":             {map[string]string{"cachingmode": "All"}, codes.InvalidArgument},
		"caching of an uncached disk": {map[string]string{"skuname": "PremiumV2_LRS", "cachingmode": "ReadOnly"}, codes.InvalidArgument},
		"unmanaged disk":              {map[string]string{"kind": "Dedicated"}, codes.InvalidArgument},
		"shared disk":                 {map[string]string{"maxShares": "2"}, codes.InvalidArgument},
		"other file system":           {map[string]string{"fsType": "ntfs"}, codes.InvalidArgument},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newTestController(t)
			_, err := c.CreateVolume(context.Background(), request("pvc-1", 1, test.parameters))
			if status.Code(err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			left, _ := os.ReadDir(c.disks.folder)
			if (err == nil) != (len(left) == 1) {
				t.Fatalf("the folder of disks holds %v after %v", left, err)
			}
		})
	}
}

func TestAccessModes(t *testing.T) {
	for number := range csi.VolumeCapability_AccessMode_Mode_name {
		mode := csi.VolumeCapability_AccessMode_Mode(number)
		err := checkCapability(mounted(mode))
		if single := len(mode.String()) > 6 && mode.String()[:6] == "SINGLE"; single != (err == nil) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestSizes(t *testing.T) {
	most := 100 * gib
	tests := []struct{ required, limit, want int64 }{
		{0, 0, gib}, {1, 0, gib}, {gib, 0, gib}, {gib + 1, 0, 2 * gib}, {0, 5 * gib, gib}, {64 * gib, 64 * gib, 64 * gib},
		{most, 0, most}, {most + 1, 0, 0}, {gib + 1, gib + 2, 0}, {2 * gib, gib, 0}, {-1, 0, 0},
	}
	for _, test := range tests {
		got, err := sizeFor(&csi.CapacityRange{RequiredBytes: test.required, LimitBytes: test.limit}, most)
		if (err != nil) != (test.want == 0) || (err == nil && got != test.want) {
			t.Errorf("%d to %d: got %d, %v; want %d", test.required, test.limit, got, err, test.want)
		}
	}
}

func TestADiskOccupiesNothingAtFirst(t *testing.T) {
	c := newTestController(t)
	volume := create(t, c, "pvc-1", 64)
	if volume.CapacityBytes != 64*gib || volume.VolumeId != testScope+"/providers/Microsoft.Compute/disks/pvc-1" {
		t.Fatal(volume)
	}
	if occupied, err := c.disks.occupied("pvc-1"); err != nil || occupied > 1<<20 {
		t.Fatal(occupied, err)
	}
}

func TestZones(t *testing.T) {
	c := newTestController(t)
	asked := request("pvc-1", 1, nil)
	asked.AccessibilityRequirements = &csi.TopologyRequirement{
		Preferred: []*csi.Topology{{Segments: map[string]string{zoneKey: "francecentral-2"}}},
	}
	answer, err := c.CreateVolume(context.Background(), asked)
	if err != nil || answer.Volume.AccessibleTopology[0].Segments[zoneKey] != "francecentral-2" {
		t.Fatal(answer, err)
	}
	asked.Name, asked.Parameters = "pvc-2", map[string]string{"skuname": "Premium_ZRS"}
	answer, err = c.CreateVolume(context.Background(), asked)
	if err != nil || len(answer.Volume.AccessibleTopology) != 0 {
		t.Fatal(answer, err)
	}
}

func TestADiskGrowsAndNeverShrinks(t *testing.T) {
	c := newTestController(t)
	id := create(t, c, "pvc-1", 4).VolumeId
	tests := []struct {
		required, limit int64
		want            codes.Code
		size            int64
	}{
		{6 * gib, 0, codes.OK, 6 * gib}, {6 * gib, 0, codes.OK, 6 * gib}, {5 * gib, 0, codes.OK, 6 * gib},
		{2 * gib, 2 * gib, codes.OutOfRange, 6 * gib}, {1 << 60, 0, codes.OutOfRange, 6 * gib},
	}
	for _, test := range tests {
		_, err := c.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
			VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: test.required, LimitBytes: test.limit},
		})
		known, _ := c.disks.get("pvc-1")
		if status.Code(err) != test.want || known.Size != test.size {
			t.Errorf("%d: got %v and %d bytes", test.required, err, known.Size)
		}
	}
}

func TestAttaching(t *testing.T) {
	c := newTestController(t)
	attach := func(id, node string) codes.Code {
		_, err := c.ControllerPublishVolume(context.Background(), &csi.ControllerPublishVolumeRequest{
			VolumeId: id, NodeId: node, VolumeCapability: mounted(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER),
		})
		return status.Code(err)
	}
	var ids []string
	for number := range 3 {
		ids = append(ids, create(t, c, fmt.Sprintf("pvc-%d", number), 1).VolumeId)
	}
	expect := func(what string, got, want codes.Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	expect("to its node", attach(ids[0], "node1"), codes.OK)
	expect("once more", attach(ids[0], "node1"), codes.OK)
	expect("to a second node", attach(ids[0], "node2"), codes.FailedPrecondition)
	expect("to no node", attach(ids[1], "node2"), codes.NotFound)
	expect("second disk", attach(ids[1], "node1"), codes.OK)
	expect("more than the VM size takes", attach(ids[2], "node1"), codes.ResourceExhausted)
	_, err := c.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: ids[0]})
	expect("deleting an attached disk", status.Code(err), codes.FailedPrecondition)
	_, err = c.ControllerUnpublishVolume(context.Background(), &csi.ControllerUnpublishVolumeRequest{VolumeId: ids[0], NodeId: "node1"})
	expect("detaching", status.Code(err), codes.OK)
	expect("the place of a detached disk", attach(ids[2], "node1"), codes.OK)
	_, err = c.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: ids[0]})
	expect("deleting a detached disk", status.Code(err), codes.OK)
}

func TestInterruptedWorkIsForgotten(t *testing.T) {
	c := newTestController(t)
	create(t, c, "pvc-1", 1)
	half := filepath.Join(c.disks.folder, unfinished+"123")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.disks.open(); err != nil {
		t.Fatal(err)
	}
	found, err := c.disks.list()
	if _, gone := os.Stat(half); gone == nil || err != nil || len(found) != 1 {
		t.Fatal(found, err, gone)
	}
}

func TestIdsOfOthers(t *testing.T) {
	disks := newStore(t.TempDir(), testScope)
	for id, want := range map[string]string{
		testScope + "/providers/Microsoft.Compute/disks/pvc-1":                          "pvc-1",
		"/SUBSCRIPTIONS/s/resourcegroups/g/providers/microsoft.compute/disks/pvc-1":     "pvc-1",
		testScope + "/providers/Microsoft.Compute/disks/":                               "",
		testScope + "/providers/Microsoft.Compute/disks/../../etc":                      "",
		"/subscriptions/s/resourceGroups/other/providers/Microsoft.Compute/disks/pvc-1": "",
		"pvc-1": "",
	} {
		if got := disks.name(id); got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
}
