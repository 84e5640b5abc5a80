package csi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestADiskNeedsAnEncryptionSetThatIsThere(t *testing.T) {
	azure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("set") != "/there" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error": "ResourceNotFound: no such set"}`))
		}
	}))
	defer azure.Close()
	c := newTestController(t)
	c.encryption = &encryption{address: azure.URL, client: azure.Client()}
	for set, want := range map[string]codes.Code{"/there": codes.OK, "/elsewhere": codes.Internal, "": codes.OK} {
		_, err := c.CreateVolume(context.Background(), request("disk-"+strings.Trim(set, "/"), 1, map[string]string{"diskEncryptionSetID": set}))
		if status.Code(err) != want {
			t.Errorf("%s: %v, wanted %s", set, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "no such set") {
			t.Errorf("%s: %v does not say why", set, err)
		}
	}
	azure.Close()
	if _, err := c.CreateVolume(context.Background(), request("unasked", 1, map[string]string{"diskEncryptionSetID": "/there"})); err == nil {
		t.Error("a disk was made although nobody could be asked")
	}
}
