package backend

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// urlParams are the options of URLs, named as pyarrow names them, and path_style. Each
// gives its value in one form, or says why it is none.
var urlParams = map[string]map[string]func(value string) (string, error){
	"s3": {
		"endpoint_override":        endpointParam,
		"region":                   regionParam,
		"scheme":                   schemeParam,
		"path_style":               boolParam,
		"force_virtual_addressing": boolParam,
		"allow_bucket_creation":    boolParam,
	},
	"abfs": {
		"blob_storage_authority": authorityParam,
		"dfs_storage_authority":  ignoredParam, // trainfs speaks to the Blob service alone
		"enable_tls":             boolParam,
		"credential_kind":        credentialParam,
		"tenant_id":              idParam,
		"client_id":              idParam,
		"background_writes":      ignoredParam, // pyarrow's own
	},
	"hdfs": {
		"user":               userParam,
		"replication":        countParam,
		"default_block_size": countParam,
		"buffer_size":        ignoredParam, // trainfs has its own
	},
	"gs": {
		"endpoint_override":       endpointParam,
		"scheme":                  schemeParam,
		"default_bucket_location": ignoredParam, // pyarrow needs it to make buckets
		"project_id":              ignoredParam, // the same
		"retry_limit_seconds":     ignoredParam, // trainfs goes on for ever
	},
}

// secretParams are what other tools take in URLs and trainfs does not.
var secretParams = []string{"kerb_ticket", "access_key", "secret_key", "session_token", "access_token", "credentials", "json_credentials",
	"account_key", "connection_string", "sas_token", "client_secret", "credential",
	"sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "sip", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv"} // of a SAS token

func parseParams(scheme, query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("malformed options after '?'")
	}
	if scheme == "plugin" {
		return pluginParams(values)
	}
	known := urlParams[scheme]
	if known == nil && len(values) > 0 {
		return nil, fmt.Errorf("%s:// takes no options", scheme)
	}
	params := make(map[string]string)
	for name, given := range values {
		name = strings.ReplaceAll(name, "-", "_")
		parse, ok := known[name]
		if !ok {
			return nil, unknownParam(name, slices.Sorted(maps.Keys(known)))
		}
		if _, twice := params[name]; twice || len(given) > 1 {
			return nil, fmt.Errorf("option %s is given twice", name)
		}
		value, err := parse(given[0])
		if err != nil {
			return nil, fmt.Errorf("option %s: %w", name, err)
		}
		params[name] = value
	}
	maps.DeleteFunc(params, func(_, value string) bool { return value == "" })
	return params, reconcile(params)
}

// pluginParams are handed to the plug-in, which knows what they mean.
func pluginParams(values url.Values) (map[string]string, error) {
	params := make(map[string]string)
	for name, given := range values {
		switch {
		case slices.Contains(secretParams, strings.ReplaceAll(name, "-", "_")):
			return nil, unknownParam(strings.ReplaceAll(name, "-", "_"), nil)
		case len(given) > 1:
			return nil, fmt.Errorf("option %s is given twice", name)
		}
		params[name] = given[0]
	}
	return params, nil
}

func unknownParam(name string, known []string) error {
	if slices.Contains(secretParams, name) {
		return fmt.Errorf("option %s: credentials do not belong in a URL; the environment, or the SDK's own chain, gives them", name)
	}
	return fmt.Errorf("unknown option%s; known are %s", didYouMean(name, known), strings.Join(known, ", "))
}

// reconcile makes of options that overlap the one form that Location promises.
func reconcile(params map[string]string) error {
	if params["allow_bucket_creation"] == "true" {
		return errors.New("option allow_bucket_creation: trainfs creates no buckets")
	}
	delete(params, "allow_bucket_creation")

	if virtual, ok := params["force_virtual_addressing"]; ok {
		delete(params, "force_virtual_addressing")
		style, given := params["path_style"]
		if given && style == virtual {
			return errors.New("options path_style and force_virtual_addressing contradict each other")
		}
		if virtual == "true" {
			params["path_style"] = "false"
		}
	}

	endpoint, ok := params["endpoint_override"]
	if !ok {
		return nil
	}
	scheme := params["scheme"]
	full := strings.Contains(endpoint, "://")
	switch {
	case full && scheme != "" && !strings.HasPrefix(endpoint, scheme+"://"):
		return errors.New("options scheme and endpoint_override contradict each other")
	case !full && scheme == "":
		endpoint = "https://" + endpoint
	case !full:
		endpoint = scheme + "://" + endpoint
	}
	params["endpoint_override"] = withoutDefaultPort(endpoint)
	delete(params, "scheme")
	return nil
}

func withoutDefaultPort(endpoint string) string {
	for scheme, port := range map[string]string{"http://": ":80", "https://": ":443"} {
		if strings.HasPrefix(endpoint, scheme) {
			return strings.TrimSuffix(endpoint, port)
		}
	}
	return endpoint
}

// endpointParam takes host, host:port, or either as an http or https URL.
func endpointParam(value string) (string, error) {
	full := value
	if !strings.Contains(value, "://") {
		full = "http://" + value
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return "", errors.New("malformed URL") // err would repeat it
	case u.User != nil:
		return "", errors.New("credentials do not belong in a URL; the SDK's own chain gives them")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("neither http nor https")
	case u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("wanted host, host:port or http://host:port")
	}
	host := strings.ToLower(u.Host)
	if full == value {
		return u.Scheme + "://" + host, nil
	}
	return host, nil
}

func regionParam(value string) (string, error) {
	if value == "" || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", errors.New("wanted a name such as eu-west-1")
	}
	return value, nil
}

func schemeParam(value string) (string, error) {
	if v := strings.ToLower(value); v == "http" || v == "https" {
		return v, nil
	}
	return "", errors.New("wanted http or https")
}

func userParam(value string) (string, error) {
	if value == "" || strings.ContainsAny(value, ":/@") {
		return "", errors.New("wanted the name of a user")
	}
	return value, nil
}

func countParam(value string) (string, error) {
	if n, err := strconv.ParseInt(value, 10, 63); err != nil || n < 1 {
		return "", errors.New("wanted a number above 0")
	}
	return value, nil
}

// ignoredParam is for what changes nothing here; "" goes into no Location.
func ignoredParam(string) (string, error) { return "", nil }

func boolParam(value string) (string, error) {
	switch strings.ToLower(value) {
	case "true", "1":
		return "true", nil
	case "false", "0":
		return "false", nil
	}
	return "", errors.New("wanted true or false")
}
