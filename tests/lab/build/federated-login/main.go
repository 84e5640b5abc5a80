// Command federated-login asks Entra for a token as any workload does that runs with workload identity: with the token
// and the variables that its pod was given. What it prints is one line of JSON: the status, and the claims of the token
// or the error. The authorities that it trusts are those of the file that SSL_CERT_FILE names.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#third-case-access-token-request-with-a-federated-credential
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type answer struct {
	Status int             `json:"status"`
	Claims json.RawMessage `json:"claims,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func main() {
	found, err := login(os.Args[1])
	if err != nil {
		found = answer{Error: err.Error()}
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

func login(scope string) (answer, error) {
	assertion, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
	if err != nil {
		return answer{}, err
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {os.Getenv("AZURE_CLIENT_ID")},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {string(assertion)},
		"scope":                 {scope},
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.PostForm(os.Getenv("AZURE_AUTHORITY_HOST")+os.Getenv("AZURE_TENANT_ID")+"/oauth2/v2.0/token", form)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return answer{}, err
	}
	if response.StatusCode != http.StatusOK {
		return answer{Status: response.StatusCode, Error: body.Description}, nil
	}
	claims, err := claimsOf(body.AccessToken)
	return answer{Status: response.StatusCode, Claims: claims}, err
}

// claimsOf reads what a token says; whether it is genuine is for those to verify who are shown it.
func claimsOf(token string) (json.RawMessage, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("a token of %d parts", len(parts))
	}
	return base64.RawURLEncoding.DecodeString(parts[1])
}
