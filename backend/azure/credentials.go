package azure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/trainfs/trainfs/backend"
)

// The environment, each with a second name, adlfs's. They are looked at in this order.
var (
	envConnection = []string{"AZURE_STORAGE_CONNECTION_STRING"}
	envAccount    = []string{"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"}
	envKey        = []string{"AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"}
	envSAS        = []string{"AZURE_STORAGE_SAS_TOKEN"}
)

// fromEnv gives the first of the names that is set, and what it is set to.
func fromEnv(names []string) (name, value string) {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// Complete adds what the storage path leaves to the environment: the account, and where it
// is. It belongs to where objects are, and so to the location; what is in the path wins.
func Complete(loc backend.Location) backend.Location {
	account, authority := loc.Params["account"], loc.Params["authority"]
	_, text := fromEnv(envConnection)
	conn := parseConnection(text)
	if account == "" {
		account = conn["AccountName"]
	}
	if authority == "" && account == conn["AccountName"] {
		authority = conn.authority()
		if conn.scheme() == "http" {
			loc.Params["scheme"] = "http"
		}
	}
	if account == "" {
		_, account = fromEnv(envAccount)
	}
	loc.SetAzure(strings.ToLower(account), authority)
	return loc
}

// connection is a connection string taken apart.
type connection map[string]string

func parseConnection(text string) connection {
	c := make(connection)
	for field := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(field, "="); ok {
			c[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	if endpoint := c["BlobEndpoint"]; c["AccountName"] == "" && endpoint != "" { // one with a SAS token may have no name
		_, rest, _ := strings.Cut(endpoint, "://")
		c["AccountName"], _, _ = strings.Cut(rest, ".")
	}
	return c
}

// scheme is https unless the string says otherwise.
func (c connection) scheme() string {
	if endpoint := c["BlobEndpoint"]; endpoint != "" {
		scheme, _, _ := strings.Cut(endpoint, "://")
		return scheme
	}
	return c["DefaultEndpointsProtocol"]
}

// authority is where the string says that the account is; see backend.Location.SetAzure.
func (c connection) authority() string {
	if _, rest, ok := strings.Cut(c["BlobEndpoint"], "://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if suffix, ok := strings.CutPrefix(host, c["AccountName"]+"."); ok && strings.Trim(path, "/") == "" {
			return "." + suffix
		}
		return host
	}
	if suffix := c["EndpointSuffix"]; suffix != "" {
		return ".blob." + suffix
	}
	return ""
}

// credentials are one of a key, a SAS token, a source of tokens, or nothing.
type credentials struct {
	from      string // in words
	sharedKey *container.SharedKeyCredential
	sas       string
	token     azcore.TokenCredential
}

// findCredentials gives those of the environment for the account of loc.
func findCredentials(loc backend.Location) (credentials, error) {
	account := loc.Params["account"]
	if loc.Params["credential_kind"] == "anonymous" {
		return credentials{from: "no credentials (credential_kind=anonymous)"}, nil
	}
	if loc.Params["credential_kind"] != "" {
		return tokenCredentials(loc)
	}
	if name, text := fromEnv(envConnection); text != "" {
		conn := parseConnection(text)
		switch other := conn["AccountName"]; {
		case other != account:
			return credentials{}, configError(nil, "the storage path is in account %q and %s is for %q: change one of them", account, name, other)
		case conn["AccountKey"] != "":
			return keyCredentials(name, account, conn["AccountKey"])
		case conn["SharedAccessSignature"] != "":
			return sasCredentials(name, conn["SharedAccessSignature"])
		}
		return credentials{}, configError(nil, "%s has neither AccountKey= nor SharedAccessSignature=: take the one that Azure shows under Access keys", name)
	}
	if name, key := fromEnv(envKey); key != "" {
		return keyCredentials(name, account, key)
	}
	if name, token := fromEnv(envSAS); token != "" {
		return sasCredentials(name, token)
	}
	return tokenCredentials(loc)
}

func keyCredentials(name, account, key string) (credentials, error) {
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil { // it would repeat a part of the key
		return credentials{}, configError(nil, "the account key in %s is not one: it is Base64, 88 characters, as Azure shows it under Access keys", name)
	}
	return credentials{from: "the account key in " + name, sharedKey: cred}, nil
}

func sasCredentials(name, token string) (credentials, error) {
	token = strings.TrimPrefix(strings.TrimSpace(token), "?")
	if !strings.Contains(token, "sig=") || strings.ContainsAny(token, " \n") {
		return credentials{}, configError(nil, "the SAS token in %s is not one: it begins with sv= or sp=, and has a sig=", name)
	}
	return credentials{from: "the SAS token in " + name, sas: token}, nil
}

// tokenCredentials are those of the SDK's own chain, or of the one member that the storage
// path asks for.
func tokenCredentials(loc backend.Location) (credentials, error) {
	if loc.Params["scheme"] == "http" {
		return credentials{}, configError(nil, "no account key and no SAS token, and others are not sent without TLS: set AZURE_STORAGE_KEY, "+
			"AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING")
	}
	var (
		tenant, client = loc.Params["tenant_id"], loc.Params["client_id"]
		cred           azcore.TokenCredential
		err            error
	)
	kind := loc.Params["credential_kind"]
	switch kind {
	case "environment":
		cred, err = azidentity.NewEnvironmentCredential(nil)
	case "workload_identity":
		cred, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientID: client, TenantID: tenant})
	case "managed_identity":
		var o azidentity.ManagedIdentityCredentialOptions
		if client != "" {
			o.ID = azidentity.ClientID(client)
		}
		cred, err = azidentity.NewManagedIdentityCredential(&o)
	case "cli":
		cred, err = azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: tenant})
	default:
		kind = "the environment, workload identity, managed identity or az login"
		cred, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{TenantID: tenant})
	}
	if err != nil {
		return credentials{}, configError(brief(err), "no Azure credentials from %s: %s", kind, howToLogIn)
	}
	return credentials{from: "a token from " + kind, token: tokens{cred}}, nil
}

// errNoToken tells that it was the chain that failed, and not the server.
var errNoToken = errors.New("no token")

type tokens struct{ azcore.TokenCredential }

func (t tokens) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := t.TokenCredential.GetToken(ctx, o)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNoToken, err)
	}
	return token, err
}

const howToLogIn = "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, run az login, " +
	"or give the machine a managed identity"

// scope is what tokens are asked for, in every cloud.
const scope = "https://storage.azure.com/.default"

// bearer is the header that lets the server read the source of a copy.
func (c credentials) bearer(ctx context.Context) (*string, error) {
	token, err := c.token.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	if err != nil {
		return nil, err
	}
	if token.Token == "" {
		return nil, errors.New("an empty token")
	}
	value := "Bearer " + token.Token
	return &value, nil
}
