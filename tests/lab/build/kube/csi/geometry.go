package csi

import (
	"golang.org/x/sys/unix"
)

const (
	// Without the right to resize a mounted ext4, file systems are made that much larger than their disks.
	headroom      = 4
	leastGeometry = 64 * gibibyte
	// What a file system needs for itself: a journal and some tables, and the inode tables (256 bytes for 16 KiB).
	overhead     = int64(24) << 20
	inodesOneInN = 64
)

// resizesOnline says whether the kernel lets this process resize a mounted ext4. Root may, but not where
// CAP_SYS_RESOURCE is withheld, as in containers: https://man7.org/linux/man-pages/man7/capabilities.7.html
var resizesOnline = func() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}()

// geometry is the size of the file system for a disk. Where it is larger than the disk, the guard keeps
// files within the disk, and growing the disk is a matter of letting them take more.
func geometry(size int64) int64 {
	if resizesOnline {
		return size
	}
	return min(max(headroom*size, leastGeometry), imageMost*gibibyte)
}

// capacity is what files can take of a disk.
//
//	size is that of the disk, length that of its image, blocks what files can take of the file system.
func capacity(size, length, blocks int64) int64 {
	if length <= size {
		return blocks
	}
	return min(blocks, size-size/inodesOneInN-overhead)
}
