package csi

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

const detachPatience = 2 * time.Second

// loopOf returns the loop device of an image, or an empty text when it has none.
func loopOf(image string) (string, error) {
	if _, err := os.Stat(image); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	found, err := losetup("--associated", image, "--noheadings", "--output", "NAME")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(found, "\n")
	return strings.TrimSpace(first), nil
}

// attachLoop gives an image a loop device, or brings the one it has to the size of the image.
func attachLoop(image string) (string, error) {
	device, err := loopOf(image)
	if err != nil {
		return "", err
	}
	if device != "" {
		_, err = losetup("--set-capacity", device)
		return device, err
	}
	return losetup("--find", "--show", image)
}

// detachWithMount lets the kernel give a mounted device back when its last mount goes, however that ends.
func detachWithMount(device string) error {
	_, err := losetup("--detach", device)
	return err
}

// detachLoop waits until the loop device of an image is given back.
func detachLoop(image string) error {
	for deadline := time.Now().Add(detachPatience); ; time.Sleep(50 * time.Millisecond) {
		device, err := loopOf(image)
		if err != nil || device == "" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s of disk %s is still in use", device, image)
		}
		if err := detachWithMount(device); err != nil {
			klog.V(2).InfoS("it went meanwhile", "device", device, "why", err)
		}
	}
}

func losetup(arguments ...string) (string, error) {
	output, err := exec.Command("losetup", arguments...).CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("losetup %s: %w: %s", strings.Join(arguments, " "), err, text)
	}
	return text, nil
}
