package csi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"
)

var (
	// What mkfs would zero at once or the kernel later is holes already, and a journal of this size costs little.
	formatOptions = []string{"-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=16"}
	// Blocks of deleted files go back to the machine; unused inode tables are left as the holes that they are.
	stageOptions = []string{"discard", "noinit_itable"}
)

// node mounts the disks that are attached to this machine.
type node struct {
	csi.UnimplementedNodeServer
	disks   *store
	guard   *guard
	locks   *locks
	mounter *mount.SafeFormatAndMount
	opts    options
}

func newNode(disks *store, guard *guard, locks *locks, opts options) *node {
	return &node{disks: disks, guard: guard, locks: locks, opts: opts, mounter: mount.NewSafeFormatAndMount(mount.New(""), utilexec.New())}
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: n.opts.node, MaxVolumesPerNode: n.opts.maxDisks,
		AccessibleTopology: &csi.Topology{Segments: map[string]string{zoneKey: n.opts.zone}},
	}, nil
}

func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	answer := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		})
	}
	return answer, nil
}

// find returns a disk with its lock taken.
func (n *node) find(id string) (*disk, func(), error) {
	if id == "" {
		return nil, nil, status.Error(codes.InvalidArgument, "no volume id")
	}
	return (&controller{disks: n.disks, locks: n.locks}).find(id)
}

func (n *node) NodeStageVolume(_ context.Context, request *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	path, capability := request.GetStagingTargetPath(), request.GetVolumeCapability()
	if path == "" || capability == nil {
		return nil, status.Error(codes.InvalidArgument, "a staging path and a volume capability are needed")
	}
	if err := checkCapabilities([]*csi.VolumeCapability{capability}); err != nil {
		return nil, err
	}
	known, release, err := n.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if known.Node != n.opts.node {
		return nil, status.Errorf(codes.FailedPrecondition, "disk %s is not attached to node %s", known.Name, n.opts.node)
	}
	device, err := attachLoop(n.disks.image(known.Name))
	if err != nil {
		return nil, internal(err)
	}
	if mounted, err := n.mountedAt(path); err != nil || mounted {
		return &csi.NodeStageVolumeResponse{}, err
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, internal(err)
	}
	// A disk that outgrew its file system while it was not mounted.
	if format, err := n.mounter.GetDiskFormat(device); err != nil {
		return nil, internal(err)
	} else if format != "" {
		need, err := mount.NewResizeFs(utilexec.New()).NeedResize(device, path)
		if err == nil && need {
			err = growUnmounted(device)
		}
		if err != nil {
			return nil, internal(err)
		}
	}
	options := append(append([]string{}, stageOptions...), capability.GetMount().GetMountFlags()...)
	if err := n.mounter.FormatAndMountSensitiveWithFormatOptions(device, path, "ext4", options, nil, formatOptions); err != nil {
		return nil, internal(err)
	}
	if err := detachWithMount(device); err != nil {
		return nil, internal(err)
	}
	// Nothing is written before the disk has a cap.
	if err := n.guard.balance(); err != nil {
		return nil, internal(err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// growUnmounted brings a file system to the size of its device, which needs it checked before.
func growUnmounted(device string) error {
	// Exit codes up to 1 mean that all is well by now: https://man7.org/linux/man-pages/man8/e2fsck.8.html
	var failed *exec.ExitError
	if output, err := exec.Command("e2fsck", "-f", "-p", device).CombinedOutput(); err != nil && !(errors.As(err, &failed) && failed.ExitCode() <= 1) {
		return fmt.Errorf("e2fsck %s: %w: %s", device, err, output)
	}
	if output, err := exec.Command("resize2fs", device).CombinedOutput(); err != nil {
		return fmt.Errorf("resize2fs %s: %w: %s", device, err, output)
	}
	return nil
}

func (n *node) mountedAt(path string) (bool, error) {
	mounted, err := n.mounter.IsMountPoint(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, internal(err)
	}
	return mounted, nil
}

func (n *node) NodeUnstageVolume(_ context.Context, request *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	id, path := request.GetVolumeId(), request.GetStagingTargetPath()
	if id == "" || path == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume id and a staging path are needed")
	}
	known, release, err := n.find(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := mount.CleanupMountPoint(path, n.mounter, true); err != nil {
		return nil, internal(err)
	}
	if err := detachLoop(n.disks.image(known.Name)); err != nil {
		return nil, internal(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (n *node) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	staged, target := request.GetStagingTargetPath(), request.GetTargetPath()
	if target == "" || request.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "a target path and a volume capability are needed")
	}
	if err := checkCapabilities([]*csi.VolumeCapability{request.GetVolumeCapability()}); err != nil {
		return nil, err
	}
	_, release, err := n.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if mounted, err := n.mountedAt(staged); err != nil || !mounted {
		return nil, errors.Join(err, status.Errorf(codes.FailedPrecondition, "the disk is not staged at %q", staged))
	}
	if mounted, err := n.mountedAt(target); err != nil || mounted {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, internal(err)
	}
	options := []string{"bind"}
	if request.GetReadonly() {
		options = append(options, "ro")
	}
	if err := n.mounter.Mount(staged, target, "", options); err != nil {
		return nil, internal(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if request.GetVolumeId() == "" || request.GetTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume id and a target path are needed")
	}
	_, release, err := n.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := mount.CleanupMountPoint(request.GetTargetPath(), n.mounter, true); err != nil {
		return nil, internal(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *node) NodeExpandVolume(_ context.Context, request *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if request.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "no volume path")
	}
	known, release, err := n.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if request.GetCapacityRange().GetRequiredBytes() > known.Size {
		return nil, status.Errorf(codes.OutOfRange, "disk %s has %d GiB", known.Name, known.Size/gibibyte)
	}
	if mounted, err := n.mountedAt(request.GetVolumePath()); err != nil || !mounted {
		return nil, errors.Join(err, status.Errorf(codes.NotFound, "disk %s is not mounted at %s", known.Name, request.GetVolumePath()))
	}
	length, err := n.disks.length(known.Name)
	if err != nil {
		return nil, internal(err)
	}
	if length == known.Size { // otherwise the file system has room enough
		device, err := attachLoop(n.disks.image(known.Name))
		if err != nil {
			return nil, internal(err)
		}
		if _, err := mount.NewResizeFs(utilexec.New()).Resize(device, request.GetVolumePath()); err != nil {
			return nil, internal(err)
		}
	}
	if err := n.guard.balance(); err != nil {
		return nil, internal(err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: known.Size}, nil
}

// NodeGetVolumeStats says what Azure would say: what is free of the disk. Only when
// the budget of the machine ends first is that what may still be written.
func (n *node) NodeGetVolumeStats(_ context.Context, request *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if request.GetVolumeId() == "" || request.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume id and a volume path are needed")
	}
	path := filepath.Clean(request.GetVolumePath())
	known, err := n.disks.get(n.disks.name(request.GetVolumeId()))
	if err != nil {
		return nil, internal(err)
	}
	if known == nil {
		return nil, status.Errorf(codes.NotFound, "no disk %s", request.GetVolumeId())
	}
	if mounted, err := n.mountedAt(path); err != nil || !mounted {
		return nil, errors.Join(err, status.Errorf(codes.NotFound, "no disk is mounted at %s", path))
	}
	var about unix.Statfs_t
	if err := unix.Statfs(path, &about); err != nil {
		return nil, internal(err)
	}
	length, err := n.disks.length(known.Name)
	if err != nil {
		return nil, internal(err)
	}
	total, used := capacity(known.Size, length, int64(about.Blocks)*about.Bsize), int64(about.Blocks-about.Bfree)*about.Bsize
	available := max(0, total-used)
	if writable := int64(about.Bavail) * about.Bsize; writable < almostNothing {
		available = min(available, writable)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit: csi.VolumeUsage_BYTES, Total: total, Used: used, Available: available,
		},
		{
			Unit: csi.VolumeUsage_INODES, Total: int64(about.Files),
			Used: int64(about.Files - about.Ffree), Available: int64(about.Ffree),
		},
	}}, nil
}
