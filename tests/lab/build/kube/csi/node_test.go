package csi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"k8s.io/mount-utils"
)

// machine is a node with real disks, without a guard that runs: a killed driver has none either.
type machine struct {
	*testing.T
	*controller
	node *node
}

func newMachine(t *testing.T, budget int64) *machine {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	c := newTestController(t)
	c.disks = newStore(c.disks.folder, testScope)
	guard := newGuard(c.disks, budget, 0)
	return &machine{T: t, controller: c, node: newNode(c.disks, guard, c.locks, options{node: "node1", maxDisks: 2})}
}

// stage makes a disk and mounts it; the path is where.
func (m *machine) stage(name string, gibs int64) (id, path string) {
	m.Helper()
	id, path = create(m.T, m.controller, name, gibs).VolumeId, filepath.Join(m.TempDir(), name)
	capability := mounted(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	_, err := m.ControllerPublishVolume(context.Background(), &csi.ControllerPublishVolumeRequest{VolumeId: id, NodeId: "node1", VolumeCapability: capability})
	if err == nil {
		_, err = m.node.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: path, VolumeCapability: capability})
	}
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { m.unstage(id, path) })
	return id, path
}

func (m *machine) unstage(id, path string) {
	if _, err := m.node.NodeUnstageVolume(context.Background(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: path}); err != nil {
		m.Error(err)
	}
}

// write writes up to `count` bytes to a file and returns how many could be.
func (m *machine) write(path string, count int64) (written int64, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for written < count {
		wrote, err := file.Write(block)
		written += int64(wrote)
		if err != nil {
			return written, err
		}
	}
	return written, file.Sync()
}

func (m *machine) balance() {
	if err := m.node.guard.balance(); err != nil {
		m.Fatal(err)
	}
}

func TestNoDiskWritesMoreThanTheBudget(t *testing.T) {
	m := newMachine(t, 256<<20)
	_, big := m.stage("big", 16)
	_, small := m.stage("small", 16)
	file := filepath.Join(big, "file")
	total := int64(0)
	for range 20 { // as a guard that runs would let it
		m.balance()
		written, err := m.write(file, gib)
		total += written
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if total < 64<<20 || total > 200<<20 {
		t.Errorf("the greedy disk took %d MiB", total>>20)
	}
	if written, err := m.write(filepath.Join(small, "file"), 64<<20); err != nil {
		t.Errorf("the other disk is starved after %d MiB: %v", written>>20, err)
	}
	occupied := int64(0)
	for _, name := range []string{"big", "small"} {
		one, err := m.disks.occupied(name)
		if err != nil {
			t.Fatal(err)
		}
		occupied += one
	}
	if occupied > 256<<20 {
		t.Errorf("%d MiB are occupied", occupied>>20)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	m.balance()
	if written, err := m.write(file, 32<<20); err != nil {
		t.Errorf("what was deleted is not given back: %d MiB, %v", written>>20, err)
	}
}

// TestWithoutCapsTheBudgetIsNothing is the sabotage of the test above.
func TestWithoutCapsTheBudgetIsNothing(t *testing.T) {
	m := newMachine(t, gib)
	_, path := m.stage("disk", 16)
	m.node.guard.budget = 4 * gib
	m.balance()
	if written, err := m.write(filepath.Join(path, "file"), 5*gib/4); err != nil {
		t.Errorf("%d MiB, %v", written>>20, err)
	}
}

func TestADiskGrowsWhileItIsMountedAndWhileItIsNot(t *testing.T) {
	m := newMachine(t, 4*gib)
	id, path := m.stage("disk", 1)
	size := func() int64 {
		answer, err := m.node.NodeGetVolumeStats(context.Background(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Usage[0].Total >> 20
	}
	grow := func(gibs int64) {
		_, err := m.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: gibs * gib}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := size(); got < 900 || got > 1024 {
		t.Fatalf("%d MiB", got)
	}
	grow(2)
	if _, err := m.node.NodeExpandVolume(context.Background(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: path}); err != nil {
		t.Fatal(err)
	}
	if got := size(); got < 1900 || got > 2048 {
		t.Fatalf("%d MiB after growth", got)
	}
	m.unstage(id, path)
	grow(3)
	capability := mounted(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	if _, err := m.node.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: path, VolumeCapability: capability}); err != nil {
		t.Fatal(err)
	}
	if got := size(); got < 2900 || got > 3072 {
		t.Fatalf("%d MiB after growth without a mount", got)
	}
	// Larger than any file system that was made with room to grow.
	m.unstage(id, path)
	grow(100)
	if _, err := m.node.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: path, VolumeCapability: capability}); err != nil {
		t.Fatal(err)
	}
	if got := size(); got < 98000 || got > 102400 {
		t.Fatalf("%d MiB after large growth", got)
	}
}

func TestAFullDisk(t *testing.T) {
	m := newMachine(t, 4*gib)
	_, path := m.stage("disk", 1)
	for range 3 {
		m.balance()
		written, err := m.write(filepath.Join(path, "file"), 2*gib)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d MiB, %v", written>>20, err)
		}
	}
	about, err := os.Stat(filepath.Join(path, "file"))
	if err != nil || about.Size() < 900<<20 || about.Size() > gib {
		t.Errorf("a disk of 1 GiB holds %d MiB: %v", about.Size()>>20, err)
	}
}

func TestALoopDeviceGoesWithItsLastMount(t *testing.T) {
	m := newMachine(t, gib)
	id, path := m.stage("disk", 1)
	image := m.disks.image("disk")
	if device, err := loopOf(image); err != nil || device == "" {
		t.Fatal(device, err)
	}
	// What a node that goes down does, without a word to the driver.
	if err := mount.New("").Unmount(path); err != nil {
		t.Fatal(err)
	}
	if err := detachLoop(image); err != nil {
		t.Fatal(err)
	}
	if device, err := loopOf(image); err != nil || device != "" {
		t.Errorf("%s is left: %v", device, err)
	}
	capability := mounted(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	if _, err := m.node.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: path, VolumeCapability: capability}); err != nil {
		t.Error(err)
	}
}
