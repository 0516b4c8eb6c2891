// Command fakegcs is fake-gcs-server with what it leaves out and the tests need. It is a module of
// its own, so that what it takes does not become what trainfs takes.
//
// The quirks of fake-gcs-server v1.56.1 that are put right here:
//
//   - It takes no notice of generation conditions but on uploads, nor of the checksum of a
//     composition (conditions.go).
//   - It repeats all prefixes on every page of a listing (pages.go).
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	addr := flag.String("addr", "", "address to listen on")
	bucket := flag.String("bucket", "", "bucket to make")
	flag.Parse()
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true, PublicHost: *addr, ExternalURL: "http://" + *addr,
	})
	if err == nil {
		server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: *bucket})
		err = http.ListenAndServe(*addr, &conditions{server: server, next: server.HTTPHandler()})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
