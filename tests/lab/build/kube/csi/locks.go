package csi

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// locks lets one call at a time work on a disk; another is told to come back, as the specification asks.
type locks struct {
	mutex sync.Mutex
	held  map[string]bool
}

func newLocks() *locks { return &locks{held: map[string]bool{}} }

func (l *locks) take(name string) (release func(), err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.held[name] {
		return nil, status.Errorf(codes.Aborted, "another call works on disk %s", name)
	}
	l.held[name] = true
	return func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		delete(l.held, name)
	}, nil
}
