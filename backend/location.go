package backend

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Location is a storage path taken apart.
type Location struct {
	Scheme string // "s3", "gs", "abfs", "hdfs", "plugin" or "file"
	Bucket string // for abfs the container; "" for file; for hdfs host:port of a name node, or the name of a service, or ""; for plugin its name
	Prefix string // no slash at either end; for file the directory without its leading slash

	// Params are the options of the URL, validated and in one form each:
	// endpoint_override (a URL), region, scheme, path_style ("true" or "false"), and what
	// stands for a user in gs:// URLs, anonymous ("true"), and in hdfs:// URLs, user. What
	// those of abfs:// have is said at SetAzure.
	Params map[string]string
}

// Path is the directory of a file location.
func (l Location) Path() string { return "/" + l.Prefix }

// String is the canonical URL: two spellings of the same place give the same string.
// Options that say how to get there, and not where it is, are left out.
func (l Location) String() string {
	if l.Scheme == "abfs" {
		u := l.azureURL()
		return u.String()
	}
	u := url.URL{Scheme: l.Scheme, Host: l.Bucket, Path: l.Path()}
	if l.Scheme != "file" && l.Bucket != "" {
		u.Path = strings.TrimSuffix(u.Path, "/")
	}
	query := url.Values{}
	for name, value := range l.Params { // what a plug-in's mean nobody here knows
		if name == "endpoint_override" || l.Scheme == "plugin" {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

var supportedSchemes = []string{"s3", "gs", "gcs", "abfs", "abfss", "az", "hdfs", "plugin", "file"}

// ParseLocation takes a storage path in the forms that Ray and pyarrow take:
//
//	s3://bucket/path?endpoint_override=http://localhost:9000&region=eu-west-1&scheme=http
//	gs://bucket/path, gcs://bucket/path, gs://anonymous@bucket/path
//	abfs://container@account.dfs.core.windows.net/path (see parseAzure)
//	hdfs://host:port/path, hdfs://user@host:port/path?replication=3
//	plugin://NAME/path?any=option
//	file:///path
//	/path
//
// The error never repeats what might be a secret: neither what stands before an '@', nor
// a value, nor a source that does not parse.
func ParseLocation(source string) (Location, error) {
	l, err := parseLocation(source)
	if err != nil {
		return Location{}, fmt.Errorf("storage path: %w: %w", ErrConfig, err)
	}
	return l, nil
}

func parseLocation(source string) (Location, error) {
	if source == "" {
		return Location{}, errors.New("empty")
	}
	if !utf8.ValidString(source) || strings.IndexByte(source, 0) >= 0 {
		return Location{}, errors.New("not UTF-8 text")
	}
	if strings.HasPrefix(source, "/") { // a plain path: nothing in it is special
		prefix, err := cleanPrefix(source)
		return Location{Scheme: "file", Prefix: prefix}, err
	}
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok {
		return Location{}, errors.New("neither an absolute path nor a URL such as s3://bucket/path")
	}
	scheme = strings.ToLower(scheme)
	if err := checkScheme(scheme); err != nil {
		return Location{}, err
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(rest+query, "#") {
		return Location{}, errors.New("'#' has a meaning in URLs: write it %23")
	}
	authority, rawPath, _ := strings.Cut(rest, "/")
	if isAzure(scheme) {
		return parseAzure(authority, rawPath, query)
	}
	anonymous := false
	if scheme == "gs" || scheme == "gcs" {
		scheme = "gs"
		authority, anonymous = strings.CutPrefix(authority, "anonymous@")
	}
	user := ""
	if scheme == "hdfs" {
		user, authority = hdfsUser(authority)
	}
	if err := checkAuthority(scheme, authority, rawPath); err != nil {
		return Location{}, err
	}
	decoded, err := url.PathUnescape(rawPath)
	if err != nil {
		return Location{}, errors.New("a '%' that begins no escape: write it %25")
	}
	l := Location{Scheme: scheme, Bucket: authority}
	if scheme == "file" {
		l.Bucket = ""
	}
	if l.Prefix, err = cleanPrefix(decoded); err != nil {
		return Location{}, err
	}
	if l.Params, err = parseParams(scheme, query); err == nil && anonymous {
		l.Params["anonymous"] = "true"
	}
	if err == nil && user != "" {
		l.Params["user"] = user
	}
	return l, err
}

// hdfsUser takes a user's name off host:port. HDFS has no passwords: a colon in front of
// the '@' is a mistake, which checkAuthority then finds.
func hdfsUser(authority string) (user, host string) {
	user, host, ok := strings.Cut(authority, "@")
	if !ok || user == "" || strings.ContainsAny(user, ":@") {
		return "", authority
	}
	return user, host
}

func checkScheme(scheme string) error {
	if slices.Contains(supportedSchemes, scheme) {
		return nil
	}
	if scheme == "viewfs" {
		return errors.New("viewfs:// is a table of other paths: name the hdfs:// path that it leads to")
	}
	return fmt.Errorf("unknown scheme before ://%s; supported are s3://, gs://, abfs://, hdfs://, plugin://, file:// and absolute paths",
		didYouMean(scheme, supportedSchemes))
}

// checkAuthority refuses what stands between "://" and the next slash if it is no
// bucket. A secret key may have slashes in it, and so reach into the path.
func checkAuthority(scheme, authority, rawPath string) error {
	if strings.Contains(authority, "@") ||
		strings.Contains(authority, ":") && strings.Contains(rawPath, "@") {
		return errors.New("credentials do not belong in a URL: " + chainAdvice[scheme])
	}
	if scheme == "file" {
		if authority != "" && authority != "localhost" {
			return errors.New("file:// takes three slashes and a path of this machine: file:///path")
		}
		return nil
	}
	if scheme == "hdfs" {
		if authority != "" && !isHostPort(authority) {
			return errors.New("impossible name node: wanted hdfs://host:port/path, or hdfs:///path with HADOOP_CONF_DIR")
		}
		return nil
	}
	if scheme == "plugin" {
		if authority == "" || strings.Trim(authority, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return errors.New("impossible name of a plug-in: wanted plugin://NAME/path, where a program trainfs-store-NAME is installed")
		}
		return nil
	}
	switch {
	case authority == "":
		return fmt.Errorf("no bucket: %s://bucket/path", scheme)
	case strings.Contains(authority, ":"):
		return errors.New("a bucket has no port; an endpoint goes into endpoint_override=")
	case !isBucket(authority):
		return fmt.Errorf("impossible bucket name%s", shown(authority, rawPath))
	case scheme == "gs" && (len(authority) < 3 || len(authority) > 222 || authority != strings.ToLower(authority)):
		return fmt.Errorf("impossible bucket name%s: Google Cloud Storage's have 3 to 222 lower-case letters, digits, '-', '_' and '.'", shown(authority, rawPath))
	}
	return nil
}

// chainAdvice says where credentials belong.
var chainAdvice = map[string]string{
	"s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
	"gs": "set GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account; " +
		"a public bucket takes gs://anonymous@bucket/path",
	"abfs": "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or run az login, " +
		"or give the machine a managed identity",
	"hdfs":   "HDFS takes a user's name alone, hdfs://user@host:port/path",
	"plugin": "the plug-in finds them by itself, as in its environment",
	"file":   "a path of this machine needs none",
}

// isHostPort takes a host or an address, with a port or without.
func isHostPort(authority string) bool {
	host, port := authority, "1"
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], authority[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	if address, ok := strings.CutPrefix(host, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		ip, err := netip.ParseAddr(address)
		return ok && err == nil && ip.Is6() && ip.Zone() == ""
	}
	return isBucket(host) // the same letters
}

// shown is a name as an error may repeat it: not if it may be a piece of a secret, one with
// slashes in it that reaches up to an '@'.
func shown(name, source string) string {
	if strings.Contains(source, "@") {
		return ""
	}
	return fmt.Sprintf(" %q", name)
}

// isBucket is wider than AWS's rules, since other servers' are.
func isBucket(name string) bool {
	for _, c := range name {
		if !strings.ContainsRune("-._", c) && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return len(name) <= 255 && strings.Trim(name, ".") != ""
}

func cleanPrefix(p string) (string, error) {
	if strings.IndexByte(p, 0) >= 0 || !utf8.ValidString(p) {
		return "", errors.New("the path is not UTF-8 text")
	}
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", errors.New("'..' in the path")
	}
	return strings.Trim(path.Clean("/"+p), "/"), nil
}

// didYouMean names the one of known that word is probably meant to be, if any.
func didYouMean(word string, known []string) string {
	best, least := "", 3 // two letters off at most
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance is Levenshtein's; words too long to be a typing error are far.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
