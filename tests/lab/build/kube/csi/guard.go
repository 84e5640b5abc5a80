package csi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/mount-utils"
)

const (
	balanceEvery  = 250 * time.Millisecond
	almostNothing = int64(64) << 20
	// Below this a cap is left as it is.
	worthwhile = int64(1) << 20
)

// usage is what one disk has taken, and could take, of the machine; all in bytes.
type usage struct {
	// occupied is what its image takes on the machine.
	occupied int64
	// written is what its files take, including what is still in memory.
	written int64
	// size is what its files can take at most; 0 when it is not mounted.
	size int64
}

// taken is what must be counted as spent: blocks of deleted files come back late, and
// written ones arrive late.
func (u usage) taken() int64 {
	if u.size == 0 {
		return u.occupied
	}
	return max(u.occupied, u.written+overhead)
}

// shares says for each mounted disk how much more it may write, so that all together
// stay within `budget` and the machine keeps `keepFree` of its `free` bytes.
//
// Each disk is sure of an equal part of the budget, or of its whole size where that
// is less. What nobody is sure of is for whoever comes, in equal parts that are
// renewed with each round: so one disk can use much of it, yet can never starve another.
func shares(budget, free, keepFree int64, disks map[string]usage) map[string]int64 {
	mounted, left, unwritten := int64(0), budget, int64(0)
	for _, one := range disks {
		left -= one.taken()
		unwritten += one.taken() - one.occupied
		if one.size > 0 {
			mounted++
		}
	}
	left = max(0, min(left, free-keepFree-unwritten))
	sure, promised := map[string]int64{}, int64(0)
	for name, one := range disks {
		if one.size > 0 {
			sure[name] = max(0, min(one.size, budget/mounted)-one.taken())
			promised += sure[name]
		}
	}
	for name := range sure {
		if promised > left {
			sure[name] = int64(float64(sure[name]) * float64(left) / float64(promised))
		} else {
			sure[name] += (left - promised) / mounted
		}
	}
	return sure
}

// guard caps every mounted disk in the kernel: ext4 hands out no block that is one of
// its reserved clusters, not even to root, and the cap holds while no guard runs.
// https://docs.kernel.org/admin-guide/ext4.html (reserved_clusters)
type guard struct {
	disks    *store
	budget   int64
	keepFree int64
	mounter  mount.Interface
	mutex    sync.Mutex
	tight    bool
}

func newGuard(disks *store, budget, keepFree int64) *guard {
	return &guard{disks: disks, budget: budget, keepFree: keepFree, mounter: mount.New("")}
}

func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(balanceEvery)
	defer ticker.Stop()
	for {
		if err := g.balance(); err != nil {
			klog.ErrorS(err, "the caps of the disks stay as they were")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// balance brings the cap of every mounted disk up to date.
func (g *guard) balance() error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var machine unix.Statfs_t
	if err := unix.Statfs(g.disks.folder, &machine); err != nil {
		return err
	}
	mounted, err := g.mounted()
	if err != nil {
		return err
	}
	all, err := g.disks.list()
	if err != nil {
		return err
	}
	measured := map[string]usage{}
	for _, disk := range all {
		name := disk.Name
		occupied, err := g.disks.occupied(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		one := usage{occupied: occupied}
		if filesystem, found := mounted[name]; found {
			length, err := g.disks.length(name)
			if err != nil {
				return err
			}
			one.written, one.size = filesystem.written(), capacity(disk.Size, length, filesystem.size())
		}
		measured[name] = one
	}
	granted := shares(g.budget, int64(machine.Bavail)*machine.Bsize, g.keepFree, measured)
	tight := false
	for name, share := range granted {
		free := max(0, measured[name].size-measured[name].written)
		tight = tight || share < min(free, almostNothing)
		err = errors.Join(err, mounted[name].cap(min(share, free)))
	}
	if tight != g.tight {
		g.tight = tight
		klog.InfoS("the budget of the disks is used up or no longer so", "usedUp", tight, "budget", g.budget)
	}
	return err
}

// filesystem is a mounted disk.
type filesystem struct {
	device string
	about  unix.Statfs_t
}

func (f filesystem) size() int64    { return int64(f.about.Blocks) * f.about.Bsize }
func (f filesystem) written() int64 { return f.size() - int64(f.about.Bfree)*f.about.Bsize }

// cap lets files take `share` more bytes of the file system.
func (f filesystem) cap(share int64) error {
	path := filepath.Join("/sys/fs/ext4", filepath.Base(f.device), "reserved_clusters")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // unmounted meanwhile
	}
	if err != nil {
		return err
	}
	has, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	// What the kernel reserves of itself: https://docs.kernel.org/admin-guide/ext4.html
	least := min(int64(f.about.Blocks)/50, 4096)
	wanted := max(least, int64(f.about.Bfree)-share/f.about.Bsize)
	if difference := (wanted - has) * f.about.Bsize; difference < worthwhile && difference > -worthwhile && wanted != least {
		return nil
	}
	if wanted == has {
		return nil
	}
	return os.WriteFile(path, []byte(strconv.FormatInt(wanted, 10)), 0)
}

// mounted returns the mounted disks by name.
func (g *guard) mounted() (map[string]filesystem, error) {
	points, err := g.mounter.List()
	if err != nil {
		return nil, err
	}
	found := map[string]filesystem{}
	for _, point := range points {
		if !strings.HasPrefix(point.Device, "/dev/loop") {
			continue
		}
		backing, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(point.Device), "loop", "backing_file"))
		if err != nil {
			continue // detached meanwhile
		}
		image := strings.TrimSpace(string(backing))
		name := filepath.Base(filepath.Dir(image))
		if _, known := found[name]; known || image != g.disks.image(name) {
			continue
		}
		one := filesystem{device: point.Device}
		if err := unix.Statfs(point.Path, &one.about); err != nil {
			continue
		}
		found[name] = one
	}
	return found, nil
}
