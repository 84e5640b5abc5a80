package csi

import (
	"context"
	"maps"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controller makes, attaches, grows and deletes disks, which needs no mount.
type controller struct {
	csi.UnimplementedControllerServer
	disks      *store
	nodes      nodes
	locks      *locks
	zone       string
	encryption *encryption
}

func (c *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return answer, nil
}

func (c *controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	wanted, err := c.wanted(request)
	if err != nil {
		return nil, err
	}
	release, err := c.locks.take(wanted.Name)
	if err != nil {
		return nil, err
	}
	defer release()
	known, err := c.disks.get(wanted.Name)
	if err != nil {
		return nil, internal(err)
	}
	if known == nil {
		if err := c.encryption.check(ctx, wanted.encryptionSet()); err != nil {
			return nil, internal(err)
		}
		if err := c.disks.create(wanted); err != nil {
			return nil, internal(err)
		}
		return &csi.CreateVolumeResponse{Volume: c.volume(wanted)}, nil
	}
	limit := request.GetCapacityRange().GetLimitBytes()
	if known.Size < wanted.Size || (limit > 0 && known.Size > limit) || !maps.Equal(known.Parameters, wanted.Parameters) {
		return nil, status.Errorf(codes.AlreadyExists, "disk %s exists with another size or other parameters", wanted.Name)
	}
	return &csi.CreateVolumeResponse{Volume: c.volume(known)}, nil
}

// wanted reads a request for a disk; nothing is written before all of it was found good.
func (c *controller) wanted(request *csi.CreateVolumeRequest) (*disk, error) {
	if request.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "no name")
	}
	if err := checkCapabilities(request.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	if request.GetVolumeContentSource() != nil {
		return nil, status.Error(codes.InvalidArgument, "the lab makes no disk out of a snapshot or of another disk")
	}
	read, err := readParameters(request.GetParameters())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	size, err := sizeFor(request.GetCapacityRange(), read.mostBytes())
	if err != nil {
		return nil, status.Error(codes.OutOfRange, err.Error())
	}
	return &disk{
		Name: nameFor(request.GetName()), Parameters: request.GetParameters(), Size: size,
		Zone: c.zoneFor(request.GetAccessibilityRequirements()), Redundant: read.redundant(),
	}, nil
}

// zoneFor picks the zone of the node that the scheduler chose.
func (c *controller) zoneFor(asked *csi.TopologyRequirement) string {
	for _, topologies := range [][]*csi.Topology{asked.GetPreferred(), asked.GetRequisite()} {
		for _, topology := range topologies {
			if zone, given := topology.GetSegments()[zoneKey]; given {
				return zone
			}
		}
	}
	return c.zone
}

func (c *controller) volume(made *disk) *csi.Volume {
	volume := &csi.Volume{VolumeId: c.disks.id(made.Name), CapacityBytes: made.Size, VolumeContext: map[string]string{}}
	maps.Copy(volume.VolumeContext, made.Parameters)
	volume.VolumeContext["requestedsizegib"] = strconv.FormatInt(made.Size/gibibyte, 10)
	if !made.Redundant {
		volume.AccessibleTopology = []*csi.Topology{{Segments: map[string]string{zoneKey: made.Zone}}}
	}
	return volume
}

func (c *controller) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if request.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "no volume id")
	}
	name := c.disks.name(request.GetVolumeId())
	if name == "" {
		return &csi.DeleteVolumeResponse{}, nil
	}
	release, err := c.locks.take(name)
	if err != nil {
		return nil, err
	}
	defer release()
	known, err := c.disks.get(name)
	if err != nil {
		return nil, internal(err)
	}
	if known != nil && known.Node != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "disk %s is attached to node %s", name, known.Node)
	}
	if err := c.disks.remove(name); err != nil {
		return nil, internal(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// find returns the disk of an id with its lock taken.
func (c *controller) find(id string) (*disk, func(), error) {
	if id == "" {
		return nil, nil, status.Error(codes.InvalidArgument, "no volume id")
	}
	name := c.disks.name(id)
	release, err := c.locks.take(name)
	if err != nil {
		return nil, nil, err
	}
	known, err := c.disks.get(name)
	if err == nil && known == nil {
		err = status.Errorf(codes.NotFound, "no disk %s", id)
	} else if err != nil {
		err = internal(err)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return known, release, nil
}

func (c *controller) ControllerPublishVolume(ctx context.Context, request *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	if request.GetNodeId() == "" || request.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "a node id and a volume capability are needed")
	}
	if err := checkCapabilities([]*csi.VolumeCapability{request.GetVolumeCapability()}); err != nil {
		return nil, err
	}
	known, release, err := c.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if known.Node == request.GetNodeId() {
		return &csi.ControllerPublishVolumeResponse{}, nil
	}
	if known.Node != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "disk %s is attached to node %s; it cannot be attached to %s as well", known.Name, known.Node, request.GetNodeId())
	}
	// The count of one call must be true until its disk is attached.
	unlock, err := c.locks.take("node/" + request.GetNodeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	most, exists, err := c.nodes.mostDisks(ctx, request.GetNodeId())
	if err != nil {
		return nil, internal(err)
	}
	if !exists {
		return nil, status.Errorf(codes.NotFound, "no node %s with driver %s", request.GetNodeId(), driverName)
	}
	all, err := c.disks.list()
	if err != nil {
		return nil, internal(err)
	}
	attached := int64(0)
	for _, other := range all {
		if other.Node == request.GetNodeId() {
			attached++
		}
	}
	if attached >= most {
		return nil, status.Errorf(codes.ResourceExhausted, "the VM size of node %s takes %d data disks, and it has them", request.GetNodeId(), most)
	}
	known.Node = request.GetNodeId()
	if err := c.disks.save(known); err != nil {
		return nil, internal(err)
	}
	return &csi.ControllerPublishVolumeResponse{}, nil
}

func (c *controller) ControllerUnpublishVolume(_ context.Context, request *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	known, release, err := c.find(request.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &csi.ControllerUnpublishVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer release()
	if known.Node == "" || (request.GetNodeId() != "" && known.Node != request.GetNodeId()) {
		return &csi.ControllerUnpublishVolumeResponse{}, nil
	}
	known.Node = ""
	if err := c.disks.save(known); err != nil {
		return nil, internal(err)
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no volume capability")
	}
	_, release, err := c.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := checkCapabilities(request.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: request.GetVolumeContext(), VolumeCapabilities: request.GetVolumeCapabilities(), Parameters: request.GetParameters(),
	}}, nil
}

func (c *controller) ControllerExpandVolume(_ context.Context, request *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if request.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "no capacity range")
	}
	known, release, err := c.find(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	read, err := readParameters(known.Parameters)
	if err != nil {
		return nil, internal(err)
	}
	size, err := sizeFor(request.GetCapacityRange(), read.mostBytes())
	if err != nil {
		return nil, status.Error(codes.OutOfRange, err.Error())
	}
	if limit := request.GetCapacityRange().GetLimitBytes(); size < known.Size && limit > 0 && limit < known.Size {
		return nil, status.Errorf(codes.OutOfRange, "disk %s has %d GiB: a disk cannot shrink", known.Name, known.Size/gibibyte)
	}
	if size > known.Size {
		known.Size = size
		if err := c.disks.grow(known); err != nil {
			return nil, internal(err)
		}
	}
	// The specification has an answer that says the size it has by now, which is at least what was required.
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: known.Size, NodeExpansionRequired: true}, nil
}

func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return status.Error(codes.InvalidArgument, "no volume capability")
	}
	for _, capability := range capabilities {
		if err := checkCapability(capability); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return nil
}

func internal(err error) error { return status.Error(codes.Internal, err.Error()) }
