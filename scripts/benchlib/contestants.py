"""What is compared. Each contestant gives a directory to work in, and can say when all of it
is in the store. All caches lie on one disk, and every mount has a bucket of its own. Options
that are not named here are the tool's defaults."""

import contextlib
import os
import re
import time

from benchlib import BenchError, machine, process

LOCAL, TRAINFS, RCLONE, S3FS, LOOPBACK = "local", "trainfs", "rclone mount", "s3fs", "go-fuse loopback"


class Contestant:
    """A directory of the local disk, and what the mounts have in common."""

    name = LOCAL
    peer = False  # a rival: fewer rounds, and its failure is a result

    def __init__(self, bench):
        self.bench = bench
        self.place = None
        self.stop = lambda: None

    def start(self, bucket=None):
        """Begins with nothing: a fresh mount, a fresh cache and, unless one is given, a fresh bucket."""
        self.place = self.bench.fresh("-".join(re.findall(r"\w+", self.name)))
        self.root = os.path.join(self.place, "dir")
        self.bucket = bucket or os.path.basename(self.place)
        self.child = None
        os.makedirs(self.root)
        self.stop = self.bench.cleanup.add(self.take_down)
        self.mount()

    def mount(self):
        """Makes self.root the contestant's."""

    def path(self, name):
        return os.path.join(self.root, name)

    def drain(self, name, sizes):
        """Returns once the files {name: size} of the directory name are durable."""

    def take_down(self):
        """Undoes start, but for the files: those go at the very end. Also after a hang, and twice."""
        self.unmount()
        if self.child:
            process.end(self.child)
        if machine.is_mounted(self.root):  # by a child that hung; nothing hangs on it any more
            process.run(["umount", "-l", self.root], 60)

    def unmount(self):
        """Asks the kernel to unmount; what is busy for a moment gets a second try."""
        for _ in range(2):
            if not machine.is_mounted(self.root):
                return
            with contextlib.suppress(BenchError):
                process.run(["umount", self.root], 15)
                return
            time.sleep(1)


class Mounted(Contestant):
    """A mount that a child serves in the foreground."""

    def serve(self, argv):
        log = os.path.join(self.bench.logs, os.path.basename(self.place) + ".log")
        self.child = process.daemon([str(a) for a in argv], log, self.env())

        def up():
            if self.child.poll() is not None:
                raise BenchError(f"{self.name} exited with {self.child.returncode}: {last_line(log)}")
            return machine.is_mounted(self.root)

        process.until(up, 60, f"{self.name} to mount")
        self.bench.run(["stat", self.root])  # it answers, too

    def env(self):
        return self.bench.gateway.env() if self.bench.gateway else None


class Loopback(Mounted):
    """go-fuse's LoopbackNode over a local directory, with passthrough: no store at all."""

    name = LOOPBACK

    def mount(self):
        below = os.path.join(self.place, "below")
        os.makedirs(below)
        self.serve([self.bench.tools["loopback"], below, self.root])


class Remote(Mounted):
    """A mount of a bucket."""

    def mount(self):
        self.cache = os.path.join(self.place, "cache")
        os.makedirs(self.cache)
        self.bench.gateway.make_bucket(self.bucket)
        self.mount_bucket()

    def listed(self, name):
        """{file name: size} of the directory's objects in the store."""
        prefix = name + "/"
        found = self.bench.gateway.list(self.bucket, prefix)
        return {key[len(prefix):]: size for key, size in found.items() if key != prefix}

    def await_listed(self, name, sizes):
        process.until(lambda: self.listed(name) == sizes, self.bench.timeout, f"{self.name}: {len(sizes)} objects in the store")

    def drain(self, name, sizes):
        self.await_listed(name, sizes)


class Trainfs(Remote):
    name = TRAINFS

    def mount_bucket(self):
        source = f"s3://{self.bucket}?endpoint_override={self.bench.gateway.endpoint}"
        options = f"allow_other,cache_dir={self.cache},log_file={self.log()}"
        self.serve([self.bench.tools["trainfs"], "mount", "-f", "-o", options, source, self.root])

    def log(self):
        return os.path.join(self.bench.logs, os.path.basename(self.place) + ".daemon.log")

    def do(self, *argv):
        """Runs a command of trainfs's own."""
        return self.bench.run([self.bench.tools["trainfs"], *argv])

    def pid(self):
        return self.child.pid

    def drain(self, name, sizes):
        self.do("commit", "--quiet", "--wait", self.path(name))
        self.do("wait", "--quiet", self.root)
        found = self.listed(name)
        if found != sizes:
            raise BenchError(f"trainfs says that {name} is durable, the store lists {len(found)} objects of it, not {len(sizes)}, or other sizes")

    def unmount(self):
        if machine.is_mounted(self.root):
            with contextlib.suppress(BenchError):
                process.run([self.bench.tools["trainfs"], "umount", "--no-wait", self.root], 30)
        super().unmount()


class RcloneMount(Remote):
    name = RCLONE
    peer = True

    def mount_bucket(self):
        self.serve([self.bench.tools["rclone"], "mount", "--vfs-cache-mode", "full", "--cache-dir", self.cache,
                    "bench:" + self.bucket, self.root])

    def env(self):
        return self.bench.rclone_env()


class S3fs(Remote):
    name = S3FS
    peer = True

    def mount_bucket(self):
        secret = os.path.join(self.place, "passwd")
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write(f"{self.bench.gateway.access}:{self.bench.gateway.secret}\n")
        self.serve([self.bench.tools["s3fs"], self.bucket, self.root, "-f", "-o",
                    f"url={self.bench.gateway.endpoint},use_path_request_style,passwd_file={secret},"
                    f"use_cache={self.cache},tmpdir={self.cache}"])


def last_line(path):
    with open(path, errors="replace") as f:
        return (f.read().strip().splitlines() or ["(no output)"])[-1]
