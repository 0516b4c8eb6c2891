package azure_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/storetest/azurite"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	server := azurite.Start(t)
	server.Setenv(t)
	missing := strings.Replace(server.URL("p"), "/"+server.Container+"/", "/no-such-container/", 1)
	wantAdvice(t, openErr(t, missing, azure.Options{}), backend.ErrNoBucket, `container "no-such-container" does not exist`)

	t.Setenv("AZURE_STORAGE_KEY", secret)
	wantAdvice(t, openErr(t, server.URL("p"), azure.Options{}), backend.ErrDenied, "refuses the account key in AZURE_STORAGE_KEY")
}

// With a SAS token, and with a connection string, everything works that works with a key,
// copies too.
func TestOtherCredentials(t *testing.T) {
	server := azurite.Start(t)
	key, err := container.NewSharedKeyCredential(server.Account, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	values, err := sas.BlobSignatureValues{
		ContainerName: server.Container, ExpiryTime: time.Now().Add(time.Hour).UTC(),
		Permissions: (&sas.ContainerPermissions{Read: true, Add: true, Create: true, Write: true, Delete: true, List: true}).String(),
	}.SignWithSharedKey(key)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + server.Address + "/" + server.Account
	for name, c := range map[string]struct {
		url   string
		known map[string]string
	}{
		"a SAS token": {server.URL("p"), map[string]string{"AZURE_STORAGE_SAS_TOKEN": "?" + values.Encode()}},
		"a connection string": {"az://" + server.Container + "/p", map[string]string{
			"AZURE_STORAGE_CONNECTION_STRING": "AccountName=" + server.Account + ";AccountKey=" + server.Key + ";BlobEndpoint=" + endpoint}},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, c.known)
			s := open(t, c.url)
			if _, err := s.Put(t.Context(), "a", contentOf("content"), backend.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Copy(t.Context(), "a", "b", backend.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if obj, err := s.Head(t.Context(), "b"); err != nil || !obj.HasCRC32C || obj.Size != 7 {
				t.Errorf("%+v, %v", obj, err)
			}
			if err := s.Delete(t.Context(), "a", "b"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestALargeCopyIsMadeOfParts(t *testing.T) {
	server := azurite.Start(t)
	server.Setenv(t)
	s := open(t, server.URL("p"))
	azure.CopyInParts(s, 100_000)
	data := random(350_001)
	attr := backend.Attr{Mode: 0o640, UID: 1, GID: 2, Mtime: time.Unix(1_700_000_000, 5)}
	src, err := s.Put(t.Context(), "src", backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}, backend.PutOptions{Attr: attr})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []backend.PutOptions{{}, {SourceETag: src.ETag, IfAbsent: true}} {
		dst := "dst" + o.SourceETag
		if _, err := s.Copy(t.Context(), "src", dst, o); err != nil {
			t.Fatal(err)
		}
		body, obj, err := s.Get(t.Context(), dst, backend.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if err != nil || !bytes.Equal(got, data) || obj.Attr != src.Attr || obj.CRC32C != src.CRC32C || !obj.HasCRC32C {
			t.Errorf("%d bytes, %+v, %v", len(got), obj, err)
		}
	}
	_, err = s.Copy(t.Context(), "src", "dst", backend.PutOptions{IfAbsent: true})
	wantAdvice(t, err, backend.ErrExist, "exists")
	if stages, err := s.ListStages(t.Context(), ""); err != nil || len(stages) != 0 {
		t.Errorf("left behind: %+v, %v", stages, err)
	}
}

// staged is an upload of two parts that is not published.
func staged(t *testing.T, s *azure.Store, data []byte) (backend.Stage, []backend.Part) {
	t.Helper()
	half := int64(len(data) / 2)
	st, err := s.BeginStage(t.Context(), "a", 2*half, half, backend.Attr{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	var parts []backend.Part
	for n := 1; n <= 2; n++ {
		off, size := st.Range(n)
		p, err := s.PutPart(t.Context(), st, n, backend.Content{R: bytes.NewReader(data), Offset: off, Size: size, CRC32C: crc32c.Checksum(data[off : off+size])})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	return st, parts
}

// A publish whose answer was lost is repeated: with IfAbsent it finds its own work, and says
// so, and without it changes nothing.
func TestAPublishWhoseAnswerWasLostIsRepeated(t *testing.T) {
	server := azurite.Start(t)
	server.Setenv(t)
	s := open(t, server.URL("p"))
	data := random(200_000)
	st, parts := staged(t, s, data)
	for i, o := range []backend.PutOptions{{IfAbsent: true}, {IfAbsent: true}, {}} {
		if i > 0 { // as it was before the answer came
			if _, err := s.Put(t.Context(), azure.Header(st), contentOf(""), backend.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if held, err := s.StagedParts(t.Context(), st); err != nil || len(held) != 2 || held[0] != parts[0] {
				t.Errorf("staged parts: %+v, %v", held, err)
			}
		}
		obj, err := s.PublishStage(t.Context(), st, parts, crc32c.Checksum(data), o)
		if err != nil || obj.Size != int64(len(data)) || obj.CRC32C != crc32c.Checksum(data) {
			t.Fatalf("publish %d: %+v, %v", i, obj, err)
		}
	}
	if stages, err := s.ListStages(t.Context(), ""); err != nil || len(stages) != 0 {
		t.Errorf("left behind: %+v, %v", stages, err)
	}
}

// What another writer has thrown away is told, and what that one wrote stays.
func TestAnUploadThatAnotherWriterThrewAwayIsToldOf(t *testing.T) {
	server := azurite.Start(t)
	server.Setenv(t)
	s := open(t, server.URL("p"))
	data := random(200_000)
	lost, lostParts := staged(t, s, data)
	first, firstParts := staged(t, s, data)
	if _, err := s.PublishStage(t.Context(), first, firstParts, crc32c.Checksum(data), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := s.Head(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PublishStage(t.Context(), lost, lostParts, crc32c.Checksum(data), backend.PutOptions{})
	wantAdvice(t, err, backend.ErrNoStage, "InvalidBlockList")
	if after, err := s.Head(t.Context(), "a"); err != nil || after.ETag != before.ETag {
		t.Errorf("%+v, %v; before: %+v", after, err, before)
	}
	if _, err := s.StagedParts(t.Context(), lost); !errors.Is(err, backend.ErrNoStage) {
		t.Errorf("staged parts: %v", err)
	}
}
