package keystone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/fernet/fernet-go"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Token is a token that a region's Keystone issued.
type Token struct {
	Text string
	// Region issued the token. Index and Key are the region's primary at that time.
	Region string
	Index  int
	Key    string
}

// OpenedBy reports whether a region with these keys can decrypt the token.
func (t Token) OpenedBy(keys testenv.Repository) bool {
	for _, key := range keys {
		if string(key) == t.Key {
			return true
		}
	}
	return false
}

// Reseal decrypts a token with the key from, and encrypts it again with the key to. A region whose
// primary is to would issue the token in this form.
func Reseal(token, from, to string) (string, error) {
	keys, err := fernet.DecodeKeys(from, to)
	if err != nil {
		return "", fmt.Errorf("sealing a token: %w", err)
	}
	// Keystone omits the padding.
	padded := token + strings.Repeat("=", (4-len(token)%4)%4)
	content := fernet.VerifyAndDecrypt([]byte(padded), 0, keys[:1])
	if content == nil {
		return "", errors.New("sealing a token: it has the wrong key")
	}
	sealed, err := fernet.EncryptAndSign(content, keys[1])
	if err != nil {
		return "", fmt.Errorf("sealing a token: %w", err)
	}
	return strings.TrimRight(string(sealed), "="), nil
}

// Answer holds the response of a region's Keystone, and the keys that the Keystone had.
type Answer struct {
	// Status is 200 for a valid token and 401 if no key can decrypt it.
	Status int
	Keys   testenv.Repository
}

// IssueRequest returns a request for a token of the cloud's user. The response has the token in its
// header X-Subject-Token. Use Send to send the request, because Keystone can close the connection
// without a response.
func IssueRequest(ctx context.Context, url string) (*http.Request, error) {
	type named map[string]any
	body, err := json.Marshal(named{"auth": named{"scope": "unscoped", "identity": named{
		"methods":  []string{"password"},
		"password": named{"user": named{"name": admin, "password": password, "domain": named{"id": "default"}}},
	}}})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v3/auth/tokens", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	return request, nil
}

// ValidateRequest returns a request that validates a token.
func ValidateRequest(ctx context.Context, url, token string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v3/auth/tokens", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Auth-Token", token)
	request.Header.Set("X-Subject-Token", token)
	request.Close = true
	return request, nil
}

// Issue returns a new token from the region's Keystone.
func (r *Region) Issue(ctx context.Context) (Token, error) {
	request, err := IssueRequest(ctx, r.url)
	if err != nil {
		return Token{}, err
	}
	response, keys, err := r.do(request)
	if err != nil {
		return Token{}, err
	}
	if response.StatusCode != http.StatusCreated {
		return Token{}, fmt.Errorf("issuing a token in %s: %s", r.Name, response.Status)
	}
	primary := keys.Primary()
	return Token{
		Text: response.Header.Get("X-Subject-Token"), Region: r.Name,
		Index: primary, Key: string(keys[strconv.Itoa(primary)]),
	}, nil
}

// Validate validates a token with the region's Keystone.
func (r *Region) Validate(ctx context.Context, token Token) (Answer, error) {
	request, err := ValidateRequest(ctx, r.url, token.Text)
	if err != nil {
		return Answer{}, err
	}
	response, keys, err := r.do(request)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: response.StatusCode, Keys: keys}, nil
}

// do sends a request, and returns the response and the keys that were mounted at that time. The
// request never overlaps with a volume swap.
func (r *Region) do(request *http.Request) (*http.Response, testenv.Repository, error) {
	r.swap.RLock()
	defer r.swap.RUnlock()
	response, err := Send(http.DefaultClient, request)
	if err != nil {
		return nil, nil, fmt.Errorf("sending a request to Keystone in %s: %w", r.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return response, r.mounted, nil
}

// repeats is how often a request without a response is retried.
const repeats = 2

// Send sends a request from IssueRequest or ValidateRequest, and retries if there is no response.
// It reads and closes the response body.
func Send(client *http.Client, request *http.Request) (*http.Response, error) {
	response, err := send(client, request)
	for again := 0; unanswered(err) && again < repeats; again++ {
		response, err = send(client, request)
	}
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close() // already read
	return response, err
}

// send sends a copy of the request, so that the original can be sent again.
func send(client *http.Client, request *http.Request) (*http.Response, error) {
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		var err error
		if again.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
	}
	// uWSGI closes each connection after the response without announcing this, so all requests set
	// Close.
	return client.Do(again)
}

// unanswered reports whether err means that the connection was closed before the response. With a
// POST, uWSGI occasionally does this without logging it. Both kinds of requests can be repeated
// safely.
func unanswered(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
