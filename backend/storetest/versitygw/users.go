package versitygw

import (
	"crypto/rand"
	"os/exec"
	"slices"
)

// AddUser makes a user who may do nothing until a bucket's policy says otherwise, and gives
// its name there, its access key, and what a client of it needs in its environment. The
// server is restarted for that.
func (s *Server) AddUser() (access string, env []string) {
	s.t.Helper()
	s.Stop()
	if !slices.Contains(s.args, "--iam-dir") {
		s.args = append([]string{"--iam-dir", s.t.TempDir()}, s.args...)
	}
	s.Restart()
	access, secret := "user-"+rand.Text()[:8], "secret-"+rand.Text()
	out, err := exec.Command(s.program, "admin", "--access", s.AccessKey, "--secret", s.SecretKey, "--endpoint-url", s.Endpoint,
		"create-user", "--access", access, "--secret", secret, "--role", "user").CombinedOutput()
	if err != nil {
		s.t.Fatalf("make a user: %v\n%s", err, out)
	}
	return access, environment(access, secret)
}
