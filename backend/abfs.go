package backend

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// publicAzure is what stands after an account's name in Microsoft's public cloud.
const publicAzure = ".blob.core.windows.net"

func isAzure(scheme string) bool { return scheme == "abfs" || scheme == "abfss" || scheme == "az" }

// parseAzure takes the forms that pyarrow and fsspec's adlfs take, for each of the three
// schemes:
//
//	abfs://container/path, abfs://account@container/path
//	abfs://container@account.dfs.core.windows.net/path
//	abfs://account.blob.core.windows.net/container/path
//	abfs://account@host:port/container/path     (Azurite)
//
// A container's name has no dots, so a dot or a port tells a host from it.
func parseAzure(authority, rawPath, query string) (Location, error) {
	// A key may have slashes in it, and so reach into the path.
	before, host, hasUser := strings.Cut(authority, "@")
	if !hasUser {
		before, host = "", authority
	}
	if strings.ContainsAny(before, ":") || strings.Contains(host, "@") ||
		!hasUser && strings.Contains(rawPath, "@") && strings.Contains(host, ":") && !isHostPort(host) {
		return Location{}, errors.New("credentials do not belong in a URL: " + chainAdvice["abfs"])
	}
	decoded, err := url.PathUnescape(rawPath)
	if err != nil {
		return Location{}, errors.New("a '%' that begins no escape: write it %25")
	}
	path, err := cleanPrefix(decoded)
	if err != nil {
		return Location{}, err
	}
	l := Location{Scheme: "abfs"}
	if l.Params, err = parseParams("abfs", query); err != nil {
		return Location{}, err
	}
	account, given := before, ""
	switch name, suffix, ok := azureHost(host); {
	case ok && !isHostPort(host):
		return Location{}, errors.New("impossible host in the storage path: wanted abfs://container@account.dfs.core.windows.net/path")
	case ok && hasUser:
		l.Bucket, account, given = before, name, suffix
	case ok:
		account, given = name, suffix
		l.Bucket, path, _ = strings.Cut(path, "/")
	case strings.ContainsAny(host, ".:"):
		if given = strings.ToLower(host); !isHostPort(given) {
			return Location{}, errors.New("impossible host in the storage path: wanted abfs://account@host:port/container/path")
		}
		l.Bucket, path, _ = strings.Cut(path, "/")
	default:
		l.Bucket = host
	}
	l.Prefix = path
	return l, l.placeAzure(account, given, authority+rawPath)
}

// placeAzure checks the names, and puts what is known of the server into Params.
func (l *Location) placeAzure(account, authority, source string) error {
	if l.Bucket == "" {
		return errors.New("no container: abfs://container/path, or abfs://container@account.dfs.core.windows.net/path")
	}
	if !isContainer(l.Bucket) {
		return fmt.Errorf("impossible container name%s: Azure's have 3 to 63 lower-case letters, digits and single '-', "+
			"with a letter or digit at both ends", shown(l.Bucket, source))
	}
	if account != "" && !isAccount(account) {
		return errors.New("impossible storage account name: Azure's have 3 to 24 lower-case letters and digits")
	}
	if other := l.Params["blob_storage_authority"]; other != "" && authority != "" && other != authority {
		return errors.New("the host in the storage path and option blob_storage_authority contradict each other")
	} else if authority == "" {
		authority = other
	}
	delete(l.Params, "blob_storage_authority")
	l.SetAzure(account, authority)
	if l.Params["enable_tls"] == "false" {
		l.Params["scheme"] = "http"
	}
	delete(l.Params, "enable_tls")
	return nil
}

// SetAzure says where an Azure storage account is: account may be "", if nobody has said it
// yet, and authority is what follows the account's name in the host of its Blob service, or
// a host whose paths begin with the account, or "" for Microsoft's public cloud.
func (l *Location) SetAzure(account, authority string) {
	if authority == publicAzure {
		authority = ""
	}
	for name, value := range map[string]string{"account": account, "authority": authority} {
		if delete(l.Params, name); value != "" {
			l.Params[name] = value
		}
	}
}

// azureHost takes the host of an account apart; the services for blobs and for Data Lake
// are two doors of one store.
func azureHost(host string) (account, suffix string, ok bool) {
	host = strings.ToLower(host)
	account, rest, _ := strings.Cut(host, ".")
	suffix = strings.Replace("."+rest, ".dfs.", ".blob.", 1)
	return account, suffix, account != "" && strings.Contains(suffix, ".blob.") && !strings.Contains(host, ":")
}

// azureURL is the canonical form.
func (l Location) azureURL() url.URL {
	account, authority := l.Params["account"], l.Params["authority"]
	u := url.URL{Scheme: "abfs", Host: l.Bucket, Path: strings.TrimSuffix(l.Path(), "/")}
	switch {
	case authority != "" && !strings.HasPrefix(authority, "."):
		u.Host, u.Path = authority, strings.TrimSuffix("/"+l.Bucket+l.Path(), "/")
		u.User = user(account)
	case account == "" && authority == "":
	case account == "" || authority != "" && !strings.Contains(authority, ".blob."):
		u.User = user(account)
		u.RawQuery = url.Values{"blob_storage_authority": {authority}}.Encode()
	default:
		if authority == "" {
			authority = publicAzure
		}
		u.User, u.Host = url.User(l.Bucket), account+strings.Replace(authority, ".blob.", ".dfs.", 1)
	}
	return u
}

func user(name string) *url.Userinfo {
	if name == "" {
		return nil
	}
	return url.User(name)
}

func isContainer(name string) bool {
	return len(name) >= 3 && len(name) <= 63 && !strings.Contains(name, "--") && strings.Trim(name, "-") == name &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func isAccount(name string) bool {
	return len(name) >= 3 && len(name) <= 24 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// authorityParam takes ".blob.core.chinacloudapi.cn", which follows an account's name, or
// host:port, whose paths begin with it.
func authorityParam(value string) (string, error) {
	value = strings.ToLower(value)
	host, suffix := strings.CutPrefix(value, ".")
	if isHostPort(host) && suffix != strings.Contains(host, ":") {
		return value, nil
	}
	return "", errors.New("wanted a suffix such as .blob.core.windows.net, or host:port")
}

// credentialParam takes the kinds that pyarrow has names for.
func credentialParam(value string) (string, error) {
	switch value {
	case "default":
		return "", nil
	case "anonymous", "environment", "workload_identity", "managed_identity", "cli":
		return value, nil
	}
	return "", errors.New("wanted default, anonymous, environment, workload_identity, managed_identity or cli")
}

// idParam takes the id of a tenant or an application, which is no secret.
func idParam(value string) (string, error) {
	if value == "" || len(value) > 64 || strings.Trim(strings.ToLower(value), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return "", errors.New("wanted an id such as 00000000-0000-0000-0000-000000000000")
	}
	return value, nil
}
