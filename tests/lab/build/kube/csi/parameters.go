package csi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Parameters of a StorageClass, in lower case as they are compared:
// https://github.com/kubernetes-sigs/azuredisk-csi-driver/blob/master/docs/driver-parameters.md
var knownParameters = []string{
	"attachdiskinitialdelay", "cachingmode", "disableperformanceplus", "diskaccessid", "diskencryptionsetid", "diskencryptiontype",
	"diskiopsreadwrite", "diskmbpsreadwrite", "enableasyncattach", "enablebursting", "enableperformanceplus", "fstype", "kind",
	"location", "logicalsectorsize", "maxshares", "networkaccesspolicy", "perfprofile", "publicnetworkaccess", "resourcegroup",
	"skuname", "storageaccounttype", "subscriptionid", "tags", "useragent", "writeacceleratorenabled", "zoned",
}

var (
	skuNames     = []string{"Standard_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS", "PremiumV2_LRS", "UltraSSD_LRS"}
	cachingModes = []string{"None", "ReadOnly", "ReadWrite"}
	// Disks of these kinds have no host cache.
	uncached = []string{"PremiumV2_LRS", "UltraSSD_LRS"}
	// Largest disks in GiB: https://learn.microsoft.com/azure/virtual-machines/disks-types
	mostGiB = map[string]int64{"UltraSSD_LRS": 65536, "PremiumV2_LRS": 65536}
)

const (
	defaultSKU  = "StandardSSD_LRS"
	defaultMost = int64(32767)
	// A file on ext4 with blocks of 4 KiB holds no more: https://docs.kernel.org/filesystems/ext4/overview.html
	imageMost = int64(16383)
)

// settings is what the parameters of a StorageClass come to.
type settings struct {
	sku string
}

func (s settings) redundant() bool { return strings.HasSuffix(s.sku, "_ZRS") }

// mostBytes is the size of the largest disk of the kind that this machine can have too.
func (s settings) mostBytes() int64 {
	most, known := mostGiB[s.sku]
	if !known {
		most = defaultMost
	}
	return min(most, imageMost) * gibibyte
}

// readParameters refuses what the driver of Azure Disk refuses.
func readParameters(parameters map[string]string) (settings, error) {
	read := settings{sku: defaultSKU}
	caching := ""
	for given, value := range parameters {
		if strings.HasPrefix(given, "csi.storage.k8s.io/") {
			continue
		}
		name := strings.ToLower(given)
		if !slices.Contains(knownParameters, name) {
			return read, fmt.Errorf("invalid parameter %s in storage class", given)
		}
		switch name {
		case "skuname", "storageaccounttype":
			position := indexFold(skuNames, value)
			if position < 0 {
				return read, fmt.Errorf("azureDisk - %s is not supported sku/storageaccounttype. Supported values are %v", value, skuNames)
			}
			read.sku = skuNames[position]
		case "cachingmode":
			if caching = value; indexFold(cachingModes, value) < 0 {
				return read, fmt.Errorf("azureDisk - %s is not supported cachingmode. Supported values are %v", value, cachingModes)
			}
		case "kind":
			if !strings.EqualFold(value, "managed") {
				return read, fmt.Errorf("azureDisk - %s is not supported disk kind. Supported values are [Managed]", value)
			}
		case "fstype":
			if err := supportedFilesystem(value); err != nil {
				return read, err
			}
		case "maxshares":
			if count, err := strconv.Atoi(value); err != nil || count != 1 {
				return read, fmt.Errorf("maxShares %q: the lab has no shared disks", value)
			}
		}
	}
	if slices.Contains(uncached, read.sku) && caching != "" && !strings.EqualFold(caching, "None") {
		return read, fmt.Errorf("cachingMode %s is not supported for %s", caching, read.sku)
	}
	return read, nil
}

func indexFold(values []string, wanted string) int {
	return slices.IndexFunc(values, func(value string) bool { return strings.EqualFold(value, wanted) })
}

func supportedFilesystem(name string) error {
	if name == "" || name == "ext4" {
		return nil
	}
	return fmt.Errorf("fsType %q: the disks of the lab are ext4, because only that lets them be capped", name)
}

// checkCapability refuses ways to use a disk that a disk of the lab does not have.
func checkCapability(capability *csi.VolumeCapability) error {
	if capability.GetBlock() != nil {
		return fmt.Errorf("volumeMode Block: the disks of the lab are file systems, because only those can be capped")
	}
	if capability.GetMount() == nil {
		return fmt.Errorf("a volume capability has no access type")
	}
	switch mode := capability.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
	default:
		return fmt.Errorf("access mode %s: a disk is attached to one node at a time", mode)
	}
	return supportedFilesystem(capability.GetMount().GetFsType())
}

// sizeFor rounds what is asked up to whole GiB, as Azure sells them.
func sizeFor(asked *csi.CapacityRange, most int64) (int64, error) {
	required, limit := asked.GetRequiredBytes(), asked.GetLimitBytes()
	if required < 0 || limit < 0 || (limit > 0 && required > limit) {
		return 0, fmt.Errorf("required %d bytes, limit %d bytes: no such size", required, limit)
	}
	if required > most {
		return 0, fmt.Errorf("%d bytes: the largest disk of this kind has %d GiB", required, most/gibibyte)
	}
	size := max(1, (required+gibibyte-1)/gibibyte) * gibibyte
	if limit > 0 && size > limit {
		return 0, fmt.Errorf("limit %d bytes: disks have whole GiB, and the next size is %d bytes", limit, size)
	}
	return size, nil
}
