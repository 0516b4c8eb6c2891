"""The S3 server that everything is measured over: versitygw on a port of the loopback
interface, its objects files below one directory. And a client that can list, no more."""

import fcntl
import hashlib
import hmac
import http.client
import os
import secrets
import signal
import socket
import time
import urllib.parse
import xml.etree.ElementTree

from benchlib import BenchError, process

VERSION = "v1.8.0"  # that of backend/storetest/versitygw
REGION = "us-east-1"  # the server's default


def build():
    """Path of the server's program; the tests of backend/s3 keep it at the same place."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = os.path.join(cache, "trainfs-test-tools", "versitygw-" + VERSION)
    os.makedirs(directory, exist_ok=True)
    program = os.path.join(directory, "versitygw")
    with open(os.path.join(directory, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(program):
            env = dict(os.environ, GOBIN=directory, GOFLAGS="", GOWORK="off")
            process.run(["go", "install", "github.com/versity/versitygw/cmd/versitygw@" + VERSION], 900, env, directory)
    return program


class Gateway:
    """A running server. Every bucket is a directory below its directory."""

    def __init__(self, directory, logs, cleanup):
        self.directory = directory
        self.access, self.secret = "bench" + secrets.token_hex(4), secrets.token_hex(16)
        os.makedirs(directory)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % s.getsockname()[1]
        self.endpoint = "http://" + self.address
        argv = [build(), "--port", self.address, "--quiet", "--keep-alive", "posix"]
        if not keeps_attributes(directory):
            os.makedirs(directory + ".sidecar")
            argv += ["--sidecar", directory + ".sidecar"]
        env = dict(os.environ, ROOT_ACCESS_KEY=self.access, ROOT_SECRET_KEY=self.secret)
        log = os.path.join(logs, "versitygw.log")
        self.child = process.daemon(argv + [directory], log, env, signal.SIGKILL)
        cleanup.add(lambda: process.end(self.child))
        process.until(self.answers, 30, f"versitygw to answer; its log is {log}")

    def answers(self):
        if self.child.poll() is not None:
            raise BenchError(f"versitygw exited with {self.child.returncode}")
        try:
            socket.create_connection(("127.0.0.1", int(self.address.rpartition(":")[2])), 1).close()
            return True
        except OSError:
            return False

    def make_bucket(self, name):
        os.makedirs(os.path.join(self.directory, name), exist_ok=True)

    def env(self):
        """Environment of clients that use an AWS SDK."""
        e = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_", "TRAINFS_", "RAY_"))}
        e.update(AWS_ACCESS_KEY_ID=self.access, AWS_SECRET_ACCESS_KEY=self.secret,
                 AWS_REGION=REGION, AWS_EC2_METADATA_DISABLED="true",
                 AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
        return e

    def list(self, bucket, prefix):
        """{key: size} of all objects below prefix, as ListObjectsV2 tells them."""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            tree = xml.etree.ElementTree.fromstring(self.get("/" + bucket, query))
            for element in tree.iter():
                element.tag = element.tag.rpartition("}")[2]
            for item in tree.iter("Contents"):
                found[item.findtext("Key")] = int(item.findtext("Size"))
            token = tree.findtext("NextContinuationToken")
            if tree.findtext("IsTruncated") != "true":
                return found

    def get(self, path, query):
        """Body of a GET, signed with AWS Signature Version 4 (docs.aws.amazon.com, sigv4)."""
        quote = lambda s: urllib.parse.quote(s, safe="-_.~")
        canonical_query = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items()))
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        no_body = hashlib.sha256(b"").hexdigest()
        headers = {"host": self.address, "x-amz-content-sha256": no_body, "x-amz-date": now}
        names = ";".join(sorted(headers))
        request = "\n".join(["GET", path, canonical_query,
                             *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, no_body])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + self.secret).encode()
        for step in (*scope.split("/"), to_sign):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, "
                                    f"SignedHeaders={names}, Signature={key.hex()}")
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request("GET", f"{path}?{canonical_query}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchError(f"GET {path}: {answer.status}: {body[:300].decode(errors='replace')}")
        return body


def keeps_attributes(directory):
    """Whether the server can keep what it knows of objects in extended attributes."""
    try:
        os.setxattr(directory, "user.trainfs.test", b"1")
        os.removexattr(directory, "user.trainfs.test")
        return True
    except OSError:
        return False
