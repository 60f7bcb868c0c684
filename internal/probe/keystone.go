package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

// A keystone is a client for one region's Keystone. It doesn't trust that server's responses.
type keystone struct {
	client *kube.Client
	base   string        // the address without /v3
	slots  chan struct{} // bounds concurrent requests
}

// A token is a new token. Its text is never printed.
type token struct{ text, auditID string }

// body is the part of Keystone's responses that identifies a token. Keystone can know the audit ID
// only if it has decrypted the token, so a 200 response without the ID doesn't count.
type body struct {
	Token struct {
		AuditIDs []string `json:"audit_ids"`
	} `json:"token"`
	Error struct {
		Code int `json:"code"`
	} `json:"error"`
}

// signIn gets a new token and the catalog.
func (k *keystone) signIn(ctx context.Context, auth gophercloud.AuthOptions) (token, *tokens.ServiceCatalog, error) {
	provider, err := openstack.NewClient(k.base + "/v3/")
	if err != nil {
		return token{}, nil, err
	}
	provider.HTTPClient = *k.client.HTTP()
	service, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{})
	if err != nil {
		return token{}, nil, err
	}
	result := tokens.Create(ctx, service, &auth)
	if result.Err != nil {
		return token{}, nil, rejected(result.Err)
	}
	var got body
	catalog, err := result.ExtractServiceCatalog()
	if text := result.Header.Get("X-Subject-Token"); err == nil && result.Result.ExtractInto(&got) == nil && text != "" && len(got.Token.AuditIDs) > 0 {
		return token{text, got.Token.AuditIDs[0]}, catalog, nil
	}
	return token{}, nil, errNotKeystone
}

// rejected describes a failed sign-in without any text from the server.
func rejected(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	switch {
	case !errors.As(err, &code):
		return errors.New(mirror.Explain(err))
	case code.Actual == http.StatusUnauthorized:
		return errors.New("401: Keystone rejects the credentials: check the user, the password, the project, and their domains, and whether they have expired")
	}
	return answered(code.Actual)
}

// answered describes a response that means neither accepted nor refused.
func answered(code int) error {
	switch {
	case code == http.StatusInternalServerError:
		return errors.New("500: Keystone failed, for example because a file in its key repository is truncated: see its log")
	case code >= http.StatusInternalServerError:
		return fmt.Errorf("%d: Keystone, or a proxy in front of it, is not available", code)
	}
	return fmt.Errorf("%d: %w", code, errNotKeystone)
}

// validate shows a token to Keystone as both its own proof and its subject. Unless the verdict is
// Accepted or mirror.Refused, the error says why.
func (k *keystone) validate(ctx context.Context, t token) (mirror.Verdict, error) {
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return mirror.Unreachable, errors.New(mirror.Explain(ctx.Err()))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.base+"/v3/auth/tokens?nocatalog", nil)
	if err != nil {
		return mirror.Failed, errNotKeystone
	}
	request.Header.Set("X-Auth-Token", t.text)
	request.Header.Set("X-Subject-Token", t.text)
	request.Header.Set("Accept", "application/json")
	response, err := k.client.HTTP().Do(request)
	if err != nil {
		return mirror.Unreachable, errors.New(mirror.Explain(err))
	}
	var got body
	err = errors.Join(json.NewDecoder(response.Body).Decode(&got), response.Body.Close())
	switch code := response.StatusCode; {
	case ctx.Err() != nil:
		return mirror.Unreachable, errors.New(mirror.Explain(ctx.Err()))
	case code == http.StatusOK && err == nil && slices.Contains(got.Token.AuditIDs, t.auditID):
		return mirror.Accepted, nil
	case code == http.StatusUnauthorized && err == nil && got.Error.Code == code:
		return mirror.Refused, nil
	case code == http.StatusOK || code == http.StatusUnauthorized:
		return mirror.Failed, fmt.Errorf("%d: %w", code, errNotKeystone)
	default:
		return mirror.Failed, answered(code)
	}
}
