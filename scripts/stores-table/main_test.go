package main

import (
	"strings"
	"testing"
)

const whole = `{"Action":"%a","Package":"m/backend/%s"}` + "\n"

// ended is what go test says of a store as a whole.
func ended(store, action string) string {
	return strings.NewReplacer("%a", action, "%s", store).Replace(whole)
}

const line = `{"Action":"%a","Package":"m/backend/%s","Test":"TestStore/List/%c"}` + "\n"

func event4(store, name, action string) string {
	return strings.NewReplacer("%a", action, "%s", store, "%c", name).Replace(line)
}

const readme = "# trainfs\n\n## What works where\n\n| store | | cases |\n|---|---|---|\n| `s3` | a server | all |\n| `gcs` | a server | all |\n\n## Ray\n\n| `cache_size` | no bound |\n"

func TestAHoleHasToBeExplained(t *testing.T) {
	full := event4("s3", "is_whole", "pass") + event4("gcs", "is_whole", "pass")
	local := strings.NewReplacer("TestStore", "TestAdapterOfFsspec/local")
	adapter := strings.ReplaceAll(readme, "| `gcs`", "| `plugin/local` | files | all |\n| `gcs`")
	for _, c := range []struct{ in, docs, readme, wanted, want string }{
		{full, "", readme, "", ""},
		{"", "", readme, "", "no store was tested"},
		{full + event4("s3", "more", "pass"), "", readme, "", "gcs leaves out"},
		{full + event4("s3", "more", "pass") + event4("gcs", "more", "skip"), "", readme, "", "gcs leaves out"},
		{full + event4("s3", "more", "pass"), "on gcs there is no List/more: …", readme, "", `gcs "all", and it passes all but 1`},
		{full + event4("s3", "more", "pass"), "on gcs there is no List/more: …", strings.Replace(readme, "all |\n\n", "all but 1 |\n\n", 1), "", ""},
		{full + event4("s3", "more", "fail"), "List/more", readme, "", "s3 fails: List/more"},
		{full + ended("s3", "pass") + ended("gcs", "pass"), "", readme, "", ""},
		{full + ended("hdfs", "fail"), "", readme, "", "hdfs has not come to any case"}, // it does not build
		{full + ended("hdfs", "pass"), "", readme, "", "hdfs has not come to any case"}, // it was skipped
		{full + ended("gcs", "fail"), "", readme, "", "gcs fails"},
		{full, "", readme, "s3 gcs", ""},
		{full, "", readme, "s3 gcs plugin/local", "plugin/local has not come to any case"},
		{full + skipped, "", adapter, "", "plugin/local has not come to any case"},
		{full + local.Replace(event4("plugin", "is_whole", "pass")), "", adapter, "plugin/local", ""},
		{full + local.Replace(event4("plugin", "is_whole", "fail")), "", adapter, "plugin/local", "plugin/local fails: List/is whole"},
		{full, "", "", "", `s3 "", and it passes all`},
		{event4("s3", "is_whole", "pass"), "", readme, "", "gcs, which was not tested"},
		{full + event4("mem", "is_whole", "pass"), "", readme, "", ""},
	} {
		var out strings.Builder
		err := run(strings.NewReader(c.in), &out, strings.Fields(c.wanted), c.docs, c.readme)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q\n%s", c.in, err, c.want, out.String())
		}
		if c.in == full+skipped && !strings.Contains(out.String(), "no Python has fsspec") {
			t.Errorf("nothing says why a suite was skipped:\n%s", out.String())
		}
	}
}

const skipped = `{"Action":"output","Package":"m/backend/plugin","Test":"TestAdapterOfFsspec/local","Output":"no Python has fsspec"}` + "\n" +
	`{"Action":"skip","Package":"m/backend/plugin","Test":"TestAdapterOfFsspec/local"}` + "\n"
