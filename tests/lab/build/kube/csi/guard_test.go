package csi

import "testing"

const gib = gibibyte

func total(granted map[string]int64) int64 {
	sum := int64(0)
	for _, share := range granted {
		sum += share
	}
	return sum
}

func TestShares(t *testing.T) {
	const free = 100 * gib
	tests := map[string]struct {
		budget, free int64
		disks        map[string]usage
		want         map[string]int64
	}{
		"one disk may take all of the budget": {
			20 * gib, free, map[string]usage{"a": {size: 64 * gib}}, map[string]int64{"a": 20*gib - overhead},
		},
		"a disk that is not mounted counts and gets nothing": {
			20 * gib, free, map[string]usage{"a": {size: 64 * gib}, "b": {occupied: 5 * gib}}, map[string]int64{"a": 15*gib - overhead},
		},
		"what one disk took does not starve another": {
			10 * gib, free,
			map[string]usage{"big": {size: 64 * gib, written: 6 * gib, occupied: 6 * gib}, "small": {size: 64 * gib}},
			map[string]int64{"big": 0, "small": 4*gib - 2*overhead},
		},
		"a small disk is sure of its size only": {
			20 * gib, free,
			map[string]usage{"big": {size: 64 * gib, written: 17 * gib}, "small": {size: gib}},
			map[string]int64{"big": (2*gib - overhead) / 2, "small": gib - overhead + (2*gib-overhead)/2},
		},
		"blocks in memory count before they are written": {
			20 * gib, 12 * gib, map[string]usage{"a": {size: 64 * gib, written: 5 * gib}}, map[string]int64{"a": 5*gib - overhead},
		},
		"blocks of deleted files count until they are given back": {
			20 * gib, free, map[string]usage{"a": {size: 64 * gib, occupied: 8 * gib}}, map[string]int64{"a": 12 * gib},
		},
		"a full machine gives nothing": {20 * gib, gib, map[string]usage{"a": {size: 64 * gib}}, map[string]int64{"a": 0}},
		"a budget that is overdrawn gives nothing": {
			gib, free, map[string]usage{"a": {size: 64 * gib, written: 2 * gib}}, map[string]int64{"a": 0},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := shares(test.budget, test.free, 2*gib, test.disks)
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for disk, share := range test.want {
				if difference := got[disk] - share; difference > 1<<20 || difference < -1<<20 {
					t.Errorf("%s: got %d MiB, want %d MiB", disk, got[disk]>>20, share>>20)
				}
			}
		})
	}
}

// TestSharesNeverExceed walks disks that each write all that they may, round after round.
func TestSharesNeverExceed(t *testing.T) {
	const budget = 10 * gib
	disks := map[string]usage{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		disks[name] = usage{size: 64 * gib}
		for range 20 {
			taken := int64(0)
			for _, one := range disks {
				taken += one.taken()
			}
			granted := shares(budget, 100*gib, 2*gib, disks)
			// A disk that comes when all is taken still has its overhead.
			if most := budget + overhead*int64(len(disks)); taken > most || (taken+total(granted) > budget+int64(len(disks)) && total(granted) > 0) {
				t.Fatalf("%d MiB are taken and %d MiB granted of %d MiB", taken>>20, total(granted)>>20, budget>>20)
			}
			for greedy := range disks {
				if greedy != "a" && greedy != name {
					continue
				}
				one := disks[greedy]
				one.written += granted[greedy]
				one.occupied = one.written
				disks[greedy] = one
			}
		}
	}
}
