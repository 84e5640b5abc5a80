package csi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// encryption asks Azure whether the cluster may have disks encrypted with a set.
type encryption struct {
	address string
	client  *http.Client
}

// newEncryption returns nil, which refuses nothing, where there is nobody to ask.
func newEncryption(address, authority string) (*encryption, error) {
	if address == "" {
		return nil, nil
	}
	certificates, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(certificates) {
		return nil, fmt.Errorf("no certificate in %s", authority)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	return &encryption{address: address, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// check returns why there can be no disk with this set.
func (e *encryption) check(ctx context.Context, set string) error {
	if e == nil || set == "" {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.address+"?set="+url.QueryEscape(set), nil)
	if err != nil {
		return err
	}
	answer, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var said struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return fmt.Errorf("diskEncryptionSetID %s: %s", set, answer.Status)
	}
	return fmt.Errorf("diskEncryptionSetID: %s", said.Error)
}
