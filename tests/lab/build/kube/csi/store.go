package csi

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const (
	imageName  = "image"
	recordName = "disk.json"
	unfinished = ".new-"
)

// diskName is what Azure lets a disk be called:
// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftcompute
var diskName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,78}[A-Za-z0-9_]$`)

// nameFor returns the name of the disk for a volume: the same, or one made of it where Azure would not take it.
func nameFor(volume string) string {
	if diskName.MatchString(volume) {
		return volume
	}
	return fmt.Sprintf("pvc-disk-%x", sha256.Sum256([]byte(volume)))
}

// disk is one disk as it is kept beside its image. The image may be longer than the disk: see geometry.
type disk struct {
	Name       string            `json:"name"`
	Parameters map[string]string `json:"parameters"`
	Zone       string            `json:"zone"`
	// Redundant disks (ZRS) can be attached in every zone.
	Redundant bool  `json:"redundant"`
	Size      int64 `json:"size"`
	// Node is where the disk is attached; empty when it is not.
	Node string `json:"node"`
}

// encryptionSet is the ARM id of what it is encrypted with; empty for a key of Azure's.
func (d *disk) encryptionSet() string {
	for name, value := range d.Parameters {
		if strings.EqualFold(name, "diskEncryptionSetID") {
			return value
		}
	}
	return ""
}

// store is a folder with one folder for each disk.
type store struct {
	folder string
	scope  string
}

// newStore names a folder as the kernel does, which knows no symbolic link by then.
func newStore(folder, scope string) *store {
	if real, err := filepath.EvalSymlinks(folder); err == nil {
		folder = real
	}
	return &store{folder: folder, scope: scope}
}

// open forgets disks whose creation or deletion was interrupted.
func (s *store) open() error {
	left, err := filepath.Glob(filepath.Join(s.folder, unfinished+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// id is the ARM id of a disk, by which the cluster knows it.
func (s *store) id(name string) string { return s.scope + "/providers/Microsoft.Compute/disks/" + name }

// name returns the name in an id of this store, or an empty text.
func (s *store) name(id string) string {
	prefix := s.id("")
	if len(id) <= len(prefix) || !strings.EqualFold(id[:len(prefix)], prefix) || !diskName.MatchString(id[len(prefix):]) {
		return ""
	}
	return id[len(prefix):]
}

func (s *store) image(name string) string { return filepath.Join(s.folder, name, imageName) }

// get returns a disk, or nil when there is none of that name.
func (s *store) get(name string) (*disk, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(s.folder, name, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &disk{}
	if err := json.Unmarshal(text, found); err != nil {
		return nil, fmt.Errorf("%s of disk %s: %w", recordName, name, err)
	}
	return found, nil
}

// list returns every disk.
func (s *store) list() ([]*disk, error) {
	records, err := filepath.Glob(filepath.Join(s.folder, "*", recordName))
	if err != nil {
		return nil, err
	}
	var found []*disk
	for _, path := range records {
		name := filepath.Base(filepath.Dir(path))
		if strings.HasPrefix(name, unfinished) {
			continue
		}
		one, err := s.get(name)
		if err != nil {
			return nil, err
		}
		if one != nil {
			found = append(found, one)
		}
	}
	return found, nil
}

// create makes a disk that occupies nothing yet; it is there wholly or not at all.
func (s *store) create(made *disk) error {
	aside, err := os.MkdirTemp(s.folder, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	image, err := os.OpenFile(filepath.Join(aside, imageName), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(image.Truncate(geometry(made.Size)), image.Sync(), image.Close())
	if err != nil {
		return err
	}
	if err := writeRecord(aside, made); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(s.folder, made.Name))
}

// save keeps what changed of a disk.
func (s *store) save(changed *disk) error {
	return writeRecord(filepath.Join(s.folder, changed.Name), changed)
}

func writeRecord(folder string, record *disk) error {
	text, err := json.MarshalIndent(record, "", " ")
	if err != nil {
		return err
	}
	aside := filepath.Join(folder, recordName+".new")
	if err := os.WriteFile(aside, text, 0o600); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(folder, recordName))
}

// length is that of the image of a disk, in bytes.
func (s *store) length(name string) (int64, error) {
	about, err := os.Stat(s.image(name))
	if err != nil {
		return 0, err
	}
	return about.Size(), nil
}

// grow makes a disk larger, and its image where that is too short.
func (s *store) grow(grown *disk) error {
	length, err := s.length(grown.Name)
	if err == nil && length < grown.Size {
		err = os.Truncate(s.image(grown.Name), grown.Size)
	}
	if err != nil {
		return err
	}
	return s.save(grown)
}

// remove deletes a disk: it is gone at once, also when the work is interrupted.
func (s *store) remove(name string) error {
	aside := filepath.Join(s.folder, unfinished+name)
	if err := os.Rename(filepath.Join(s.folder, name), aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(aside)
}

// occupied is what the image of a disk takes on this machine, in bytes.
func (s *store) occupied(name string) (int64, error) {
	var about syscall.Stat_t
	if err := syscall.Stat(s.image(name), &about); err != nil {
		return 0, err
	}
	return about.Blocks * 512, nil
}
