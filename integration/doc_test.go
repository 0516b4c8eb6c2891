// Package integration tests trainfs from outside: the built program, with the race
// detector in it, real mounts, a real S3 server and real directories.
//
//   - main_test.go builds the program, and sees to it that no mount outlives the tests.
//   - store_test.go is a storage path and a reader of it that knows nothing of trainfs.
//   - mount_test.go is one mount: start, kill, remount, status, wait.
//   - proxy_test.go stands between a mount and the S3 server: it writes down what is sent,
//     and holds it up.
//
// The tests' names are the promises. They need root, /dev/fuse, mount(8), mount.fuse3 and
// python3 with torch; what is missing is a failure, never a skipped test.
package integration
