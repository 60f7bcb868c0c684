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

// Token is one that a region's Keystone has signed.
type Token struct {
	Text string
	// Region is who signed it, Index and Key what with: its primary of the moment.
	Region string
	Index  int
	Key    string
}

// OpenedBy says whether a region that sees these keys can open it.
func (t Token) OpenedBy(keys testenv.Repository) bool {
	for _, key := range keys {
		if string(key) == t.Key {
			return true
		}
	}
	return false
}

// Reseal is a token with the same content, signed with another key: what a region would
// issue whose primary that is.
func Reseal(token, from, to string) (string, error) {
	keys, err := fernet.DecodeKeys(from, to)
	if err != nil {
		return "", fmt.Errorf("sealing a token: %w", err)
	}
	// Keystone leaves the padding out.
	padded := token + strings.Repeat("=", (4-len(token)%4)%4)
	content := fernet.VerifyAndDecrypt([]byte(padded), 0, keys[:1])
	if content == nil {
		return "", errors.New("sealing a token: it is not of the key that it should be of")
	}
	sealed, err := fernet.EncryptAndSign(content, keys[1])
	if err != nil {
		return "", fmt.Errorf("sealing a token: %w", err)
	}
	return strings.TrimRight(string(sealed), "="), nil
}

// Answer is what a region's Keystone said to a token, and the keys that it saw.
type Answer struct {
	// Status is 200 for a good token, 401 for one that no key opens.
	Status int
	Keys   testenv.Repository
}

// IssueRequest asks a Keystone at a URL to sign a token of the cloud's user, which is
// the answer's header X-Subject-Token. The connection is not used again: see Send.
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

// ValidateRequest shows a token to a Keystone at a URL.
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

// Issue has the region's Keystone sign a token.
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

// Validate shows a token to the region's Keystone.
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

// do sends a request, never at the same time with the volume's swap, and
// returns the keys that were there throughout.
func (r *Region) do(request *http.Request) (*http.Response, testenv.Repository, error) {
	r.swap.RLock()
	defer r.swap.RUnlock()
	response, err := Send(http.DefaultClient, request)
	if err != nil {
		return nil, nil, fmt.Errorf("asking Keystone in %s: %w", r.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return response, r.mounted, nil
}

// repeats is how often a request is sent again that had no answer.
const repeats = 2

// Send sends one of the requests above, again where it had no answer, and returns the
// answer with its body read to the end.
func Send(client *http.Client, request *http.Request) (*http.Response, error) {
	response, err := send(client, request)
	for again := 0; unanswered(err) && again < repeats; again++ {
		response, err = send(client, request)
	}
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close() // it has been read
	return response, err
}

// send sends a request once; it may be sent again.
func send(client *http.Client, request *http.Request) (*http.Response, error) {
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		var err error
		if again.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
	}
	// uWSGI closes each connection after an answer, without saying so before: the
	// requests have Close set.
	return client.Do(again)
}

// unanswered says whether the connection was closed before the answer. uWSGI
// does that to a POST now and then, without a word in its log; both kinds of
// request that are made here may be repeated.
func unanswered(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
