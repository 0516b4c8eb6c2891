package backend

import (
	"errors"
	"strings"
	"testing"
)

func TestParseLocation(t *testing.T) {
	for source, want := range map[string]string{ // in one canonical form
		"/data/runs":              "file:///data/runs",
		"/data//runs/./x/":        "file:///data/runs/x",
		"/":                       "file:///",
		"/a b%20c":                "file:///a%20b%2520c",
		"file:///data/runs/":      "file:///data/runs",
		"file:///a%20b":           "file:///a%20b",
		"file://localhost/data":   "file:///data",
		"s3://bucket":             "s3://bucket",
		"s3://bucket/":            "s3://bucket",
		"S3://bucket/a/b/":        "s3://bucket/a/b",
		"s3://bucket//a/./b":      "s3://bucket/a/b",
		"s3://my_bucket.x/a@b:c":  "s3://my_bucket.x/a@b:c",
		"s3://b/a%2Bb+c%23":       "s3://b/a+b+c%23",
		"gs://bucket/a":           "gs://bucket/a",
		"gcs://bucket/a/":         "gs://bucket/a",
		"gs://anonymous@bucket/a": "gs://bucket/a",
		"gs://bucket/a?project_id=p&retry_limit_seconds=5":           "gs://bucket/a",
		"gs://bucket/a?scheme=http&endpoint_override=localhost:4443": "gs://bucket/a?endpoint_override=http%3A%2F%2Flocalhost%3A4443",
		// Ray's and pyarrow's forms of Azure's, and those of fsspec's adlfs.
		"abfs://container/a/":                                                                       "abfs://container/a",
		"az://container/a":                                                                          "abfs://container/a",
		"abfss://account@container/a":                                                               "abfs://container@account.dfs.core.windows.net/a",
		"abfs://cont@account.dfs.core.windows.net/a%23/b":                                           "abfs://cont@account.dfs.core.windows.net/a%23/b",
		"abfss://cont@account.blob.core.windows.net/a":                                              "abfs://cont@account.dfs.core.windows.net/a",
		"az://cont@ACCOUNT.dfs.core.windows.net":                                                    "abfs://cont@account.dfs.core.windows.net",
		"abfs://account.blob.core.windows.net/cont/a":                                               "abfs://cont@account.dfs.core.windows.net/a",
		"abfs://account.dfs.core.windows.net/cont":                                                  "abfs://cont@account.dfs.core.windows.net",
		"abfs://cont@account.dfs.core.chinacloudapi.cn/a":                                           "abfs://cont@account.dfs.core.chinacloudapi.cn/a",
		"abfs://cont@account.z12.dfs.storage.azure.net/a":                                           "abfs://cont@account.z12.dfs.storage.azure.net/a",
		"abfs://cont@onelake.dfs.fabric.microsoft.com/a/b":                                          "abfs://cont@onelake.dfs.fabric.microsoft.com/a/b",
		"abfs://account@container/a?enable_tls=true&background_writes=1&dfs_storage_authority=x":    "abfs://container@account.dfs.core.windows.net/a",
		"abfs://devstoreaccount1@127.0.0.1:10000/cont/a?enable_tls=false":                           "abfs://devstoreaccount1@127.0.0.1:10000/cont/a",
		"abfs://devstoreaccount1@cont/a?blob_storage_authority=127.0.0.1:10000&credential_kind=cli": "abfs://devstoreaccount1@127.0.0.1:10000/cont/a",
		"abfs://127.0.0.1:10000/cont/a":                                                             "abfs://127.0.0.1:10000/cont/a",
		"abfs://account@cont/a?blob_storage_authority=.blob.core.windows.net":                       "abfs://cont@account.dfs.core.windows.net/a",
		"abfs://cont/a?blob_storage_authority=.blob.storage.example":                                "abfs://cont/a?blob_storage_authority=.blob.storage.example",
		"hdfs://nn:9000/a/":                                                                         "hdfs://nn:9000/a",
		"hdfs://me@nn:9000/a?replication=2":                                                         "hdfs://nn:9000/a",
		"hdfs://service/a":                                                                          "hdfs://service/a",
		"hdfs:///a":                                                                                 "hdfs:///a",
		"hdfs://[::1]:9000/a?user=me":                                                               "hdfs://[::1]:9000/a",
		// How to get there is no part of where it is.
		"s3://b/p?region=eu-west-1":                                     "s3://b/p",
		"s3://b/p?path_style=1&allow_bucket_creation=false":             "s3://b/p",
		"s3://b/p?endpoint_override=http://localhost:9000":              "s3://b/p?endpoint_override=http%3A%2F%2Flocalhost%3A9000",
		"s3://b/p?endpoint_override=http%3A%2F%2FLOCALHOST:9000/":       "s3://b/p?endpoint_override=http%3A%2F%2Flocalhost%3A9000",
		"s3://b/p?scheme=http&endpoint_override=localhost:9000":         "s3://b/p?endpoint_override=http%3A%2F%2Flocalhost%3A9000",
		"s3://b/p?endpoint-override=http://localhost:9000&scheme=http":  "s3://b/p?endpoint_override=http%3A%2F%2Flocalhost%3A9000",
		"s3://b/p?endpoint_override=minio.example":                      "s3://b/p?endpoint_override=https%3A%2F%2Fminio.example",
		"s3://b/p?endpoint_override=https://minio.example:443":          "s3://b/p?endpoint_override=https%3A%2F%2Fminio.example",
		"s3://b/p?endpoint_override=http://[::1]:9000&region=us-east-1": "s3://b/p?endpoint_override=http%3A%2F%2F%5B%3A%3A1%5D%3A9000",
	} {
		l, err := ParseLocation(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if got := l.String(); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

func TestLocationParamsHaveOneForm(t *testing.T) {
	for query, want := range map[string][2]string{
		"path_style=1":                            {"path_style", "true"},
		"force_virtual_addressing=true":           {"path_style", "false"},
		"force-virtual-addressing=TRUE":           {"path_style", "false"},
		"path_style=0&force_virtual_addressing=1": {"path_style", "false"},
		"region=eu-west-1":                        {"region", "eu-west-1"},
		"scheme=HTTP":                             {"scheme", "http"},
		"endpoint_override=h:1&scheme=http":       {"endpoint_override", "http://h:1"},
	} {
		l, err := ParseLocation("s3://bucket/p?" + query)
		if err != nil || len(l.Params) != 1 || l.Params[want[0]] != want[1] {
			t.Errorf("%s: %v, %v; want %s=%s", query, l.Params, err, want[0], want[1])
		}
	}
}

func TestParseLocationSaysWhatIsWrong(t *testing.T) {
	for source, want := range map[string]string{
		"":                                              "empty",
		"relative/path":                                 "absolute path",
		"gs://Bucket/p":                                 "lower-case",
		"gs://ab/p":                                     "3 to 222",
		"gs:///p":                                       "no bucket: gs://bucket/path",
		"gs://bucket/p?region=x":                        "unknown option",
		"gs://bucket/p?scheme=ftp":                      "wanted http or https",
		"viewfs:///p":                                   "name the hdfs:// path",
		"hdfs://user:secret@host/p":                     "a user's name alone",
		"hdfs://host:port/p":                            "impossible name node",
		"hdfs://host:99999/p":                           "impossible name node",
		"hdfs://host/p?replication=0":                   "a number above 0",
		"hdfs://host/p?kerb_ticket=x":                   "credentials do not belong",
		"abfs:///p":                                     "no container: abfs://container/path",
		"abfs://account.blob.core.windows.net":          "no container",
		"abfs://c/p":                                    "3 to 63 lower-case",
		"az://Container/p":                              "lower-case",
		"abfs://two--dashes/p":                          "single '-'",
		"abfs://-container/p":                           "both ends",
		"abfs://$web/p":                                 "impossible container name",
		"abfs://a_b@container/p":                        "impossible storage account name",
		"abfs://account@host:port/container/p":          "impossible host",
		"abfs://account:hunter2@container/p":            "AZURE_STORAGE_KEY",
		"abfs://container/p?account_key=x":              "credentials do not belong",
		"abfs://container/p?sv=2024&sig=x":              "credentials do not belong",
		"abfs://container/p?credential_kind=key":        "anonymous, environment",
		"abfs://container/p?client_secret=x":            "credentials do not belong",
		"abfs://container/p?endpoint_override=x":        "unknown option",
		"abfs://container/p?blob_storage_authority=a/b": "wanted a suffix",
		"abfs://c@account.dfs.core.windows.net/p":       "container name",
		"abfs://cont@account.dfs.core.windows.net/p?blob_storage_authority=h:1": "contradict",
		"abfs://container/a/../b":                  "'..'",
		"s4://bucket":                              `did you mean "s3"?`,
		"flie:///data":                             `did you mean "file"?`,
		"ftp://host/p":                             "unknown scheme before ://; supported",
		"s3:///path":                               "no bucket",
		"s3://":                                    "no bucket",
		"s3://bucket:80/p":                         "a bucket has no port",
		"s3://buck et/p":                           `impossible bucket name "buck et"`,
		"s3://../p":                                "impossible bucket",
		"s3://bucket/a/../b":                       "'..'",
		"s3://bucket/a/%2e%2e/b":                   "'..'",
		"/a/../b":                                  "'..'",
		"s3://bucket/a%zz":                         "%25",
		"s3://bucket/a#b":                          "%23",
		"s3://bucket/a%00b":                        "UTF-8",
		"/a\x00b":                                  "UTF-8",
		"file://host/path":                         "three slashes",
		"file:///p?region=x":                       "takes no options",
		"s3://b/p?regoin=x":                        `did you mean "region"?`,
		"s3://b/p?endpoint=x":                      "known are allow_bucket_creation, endpoint_override",
		"s3://b/p?path_style=yes":                  "option path_style: wanted true or false",
		"s3://b/p?region=":                         "option region",
		"s3://b/p?region=a&region=b":               "twice",
		"s3://b/p?path_style=1&path-style=1":       "twice",
		"s3://b/p?scheme=ftp":                      "option scheme",
		"s3://b/p?endpoint_override=":              "option endpoint_override",
		"s3://b/p?endpoint_override=ftp://h":       "neither http nor https",
		"s3://b/p?endpoint_override=http://h/path": "host:port",
		"s3://b/p?endpoint_override=http://h&scheme=https":       "contradict",
		"s3://b/p?path_style=true&force_virtual_addressing=true": "contradict",
		"s3://b/p?allow_bucket_creation=true":                    "creates no buckets",
		"s3://b/p?a;b":                                           "malformed",
	} {
		_, err := ParseLocation(source)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
	}
}

const secret = "hunter2/Secret+Key"

// secretSources have a secret in every place where people have put one.
var secretSources = []string{
	"s3://AKIA:" + secret + "@bucket/path",
	"s3://hunter2Secret@bucket/path",
	"s3://AKIA:hunter2Secret@bucket",
	"s3://bucket/p?secret_key=" + secret,
	"s3://bucket/p?access_key=AKIA&secret_key=hunter2%zz",
	"s3://bucket/p?AKIA:" + secret,
	"s3://bucket/p?endpoint_override=http://AKIA:" + secret + "@localhost:9000",
	"s3://bucket/p?endpoint_override=http://AKIA:hunter2Secret@localhost:9000",
	"s3://bucket/p?endpoint_override=AKIA:hunter2Secret@localhost:9000",
	"gs://hunter2Secret@bucket/path",
	"gs://anonymous:hunter2Secret@bucket/path",
	"gs://bucket/p?access_token=hunter2Secret",
	"abfs://account:hunter2Secret@container/path",
	"abfs://account:" + secret + "@container/path",
	"abfs://container:hunter2Secret@account.dfs.core.windows.net/path",
	"abfs://container/p?sp=r&sv=2024-01-01&sig=hunter2Secret",
	"az://container/p?account_key=hunter2Secret",
	"abfs://hunter2Secret!/Key@container/path",
	"s3://hunter2Secret!/Key@bucket/path",
	"gs://hunter2Secret/Key@bucket/path",
	"hunter2Secret://bucket",
	"AKIA:" + secret,
}

func TestParseLocationRefusesSecretsWithoutRepeatingThem(t *testing.T) {
	for _, source := range secretSources {
		_, err := ParseLocation(source)
		if err == nil {
			t.Errorf("%s: accepted", source)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats the secret: %v", source, err)
		}
	}
	_, err := ParseLocation(secretSources[0])
	if err == nil || !strings.Contains(err.Error(), "AWS_PROFILE") {
		t.Errorf("no pointer to where credentials belong: %v", err)
	}
}

// secretIn tells whether the word stands where people put secrets; elsewhere it is a name.
func secretIn(source string) bool {
	before, _, at := strings.Cut(source, "@")
	path, params, _ := strings.Cut(source, "?")
	return at && strings.Contains(before, "hunter2") || path != "" && strings.Contains("&"+params, "&secret_key=hunter2")
}

func FuzzParseLocation(f *testing.F) {
	for _, seed := range append([]string{
		"/data", "file:///a%20b", "s3://bucket/a/b?endpoint_override=http://localhost:9000&region=eu-west-1&scheme=http",
		"gs://hunter2A", "abfs://c@acct.dfs.core.windows.net/p", "az://acct@h:1/cont/p?blob_storage_authority=.blob.x", "s3://b/%2e%2e/", "s3://b?path_style=1", "gs://b/p", "s3://b/a%2Fb", "s3://b/\xff", "s3://é/p",
		"hdfs://", "hdfs:///", "hdfs://[::1]:8020/p", "hdfs://a b:1/p", "hdfs://u@h:9/p?replication=3", "plugin://p/x?a=b&a=c",
		"abfs://c@a b.dfs.x/p", "abfs://h;x:1/cont/p", "abfs://[::1]:1/cont/p", "abfs://hunter2/Secret+Key@container/path",
	}, secretSources...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		l, err := ParseLocation(source)
		if err != nil {
			if secretIn(source) && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats the secret: %v", err)
			}
			return
		}
		if l.Prefix != "" && badKey(l.Prefix) != "" && !strings.HasPrefix(badKey(l.Prefix), "part longer") {
			t.Errorf("prefix %q: %s", l.Prefix, badKey(l.Prefix))
		}
		again, err := ParseLocation(l.String())
		if err != nil || again.String() != l.String() || again.Prefix != l.Prefix || again.Bucket != l.Bucket {
			t.Errorf("%+v becomes %+v by way of %s: %v", l, again, l, err)
		}
	})
}
