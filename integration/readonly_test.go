package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// Evaluation nodes: they read, and may do nothing else.

// reader is what a client needs who may list the bucket, and read what is in it.
func (s *store) reader() (env []string) {
	s.t.Helper()
	user, env := s.server.AddUser()
	client := s3.New(s3.Options{
		BaseEndpoint: &s.server.Endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.server.AccessKey, s.server.SecretKey, ""),
	})
	allow := func(action, what string) string {
		return fmt.Sprintf(`{"Effect": "Allow", "Principal": {"AWS": [%q]}, "Action": [%q], "Resource": ["arn:aws:s3:::%s"]}`, user, action, what)
	}
	_, err := client.PutBucketPolicy(context.Background(), &s3.PutBucketPolicyInput{
		Bucket: &s.server.Bucket,
		Policy: aws.String(`{"Version": "2012-10-17", "Statement": [` +
			allow("s3:ListBucket", s.server.Bucket) + "," + allow("s3:GetObject", s.server.Bucket+"/*") + `]}`),
	})
	must(s.t, err)
	return env
}

// A read-only mount needs s3:ListBucket and s3:GetObject, and no more; the server holds it to that.
func TestReadOnlyMountNeedsOnlyToReadTheStore(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	a := s.mount(t)
	mkdir(t, a.path("run/checkpoint_000001"))
	write(t, a.path("run/checkpoint_000001/model.pt"), noise(9*mib, 1))
	write(t, a.path("run/checkpoint_000001/small.json"), "{}")
	must(t, os.Symlink("checkpoint_000001", a.path("run/latest")))
	write(t, a.path("run/notes.txt"), "notes")
	a.wait()
	a.umount()

	eval := s.in(t)
	eval.env = s.reader()
	_, err := openRaw(t, s.server.URL("runs/a"), eval.env).Put(context.Background(), "new", contentOf("x"), backend.PutOptions{})
	if err == nil {
		t.Fatal("the reader may write: the test shows nothing")
	}
	m := eval.mount(t, "ro")
	want(t, "model, by way of a link", sum(read(t, m.path("run/latest/model.pt"))), sum(noise(9*mib, 1)))
	want(t, "the rest", read(t, m.path("run/checkpoint_000001/small.json"))+read(t, m.path("run/notes.txt")), "{}notes")
	wantRun(t, m.env, trainfs, "verify", m.path("run"))
	wantRun(t, m.env, trainfs, "evict", m.path("run/checkpoint_000001"))
	wantRun(t, m.env, trainfs, "prefetch", m.path("run"))
	if err := os.WriteFile(m.path("run/new"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("create: %v, want EROFS", err)
	}
	m.umount()
}
