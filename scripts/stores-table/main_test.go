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

func TestAHoleHasToBeExplained(t *testing.T) {
	full := event4("s3", "is_whole", "pass") + event4("gcs", "is_whole", "pass")
	for _, c := range []struct{ in, docs, want string }{
		{full, "", ""},
		{"", "", "no store was tested"},
		{full + event4("s3", "more", "pass"), "", "gcs leaves out"},
		{full + event4("s3", "more", "pass") + event4("gcs", "more", "skip"), "", "gcs leaves out"},
		{full + event4("s3", "more", "pass"), "on gcs there is no List/more: …", ""},
		{full + event4("s3", "more", "fail"), "List/more", "s3 fails: List/more"},
		{full + ended("s3", "pass") + ended("gcs", "pass"), "", ""},
		{full + ended("hdfs", "fail"), "", "hdfs has not come to any case"}, // it does not build
		{full + ended("hdfs", "pass"), "", "hdfs has not come to any case"}, // it was skipped
		{full + ended("gcs", "fail"), "", "gcs fails"},
	} {
		var out strings.Builder
		err := run(strings.NewReader(c.in), &out, c.docs)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q\n%s", c.in, err, c.want, out.String())
		}
	}
}
