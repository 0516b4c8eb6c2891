"""A node: a mount namespace and a process namespace of its own, with a loopback address."""

import json
import os
import signal
import subprocess
import sys

from benchlib import process
from raylib import Failed

TRAIN = "/mnt/train"  # where every node has its mount
LOCAL = "/mnt/local"  # a directory that all nodes share, for comparison

# The first process of a namespace. It ignores SIGCHLD, so that the kernel buries what it inherits.
INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"

# The node sees its own /mnt and its own /tmp/ray, where Ray keeps its sockets.
SETUP = """set -e
mount -t tmpfs trainfs-ray /mnt
mkdir /mnt/train /mnt/local
mount --bind "$1" /mnt/local
mount --bind "$2/ray" /tmp/ray
: > "$2/ready"
exec "$3" -c "$4"
"""


class Node:
    """Number 0 is the head of the Ray cluster."""

    def __init__(self, lab, number):
        self.lab, self.number = lab, number
        self.address = f"127.0.0.{2 + number}"
        self.directory = lab.fresh(f"node{number}")
        self.cache = os.path.join(self.directory, "cache")
        for name in ("ray", "tmp"):
            os.mkdir(os.path.join(self.directory, name))
        os.makedirs("/tmp/ray", exist_ok=True)
        setup = ["bash", "-c", SETUP, "node", lab.local, self.directory, sys.executable, INIT]
        self.holder = process.daemon(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *setup],
            os.path.join(self.directory, "namespace.log"), dict(os.environ), signal.SIGKILL)
        lab.cleanup.add(self.lose)
        process.until(lambda: os.path.exists(os.path.join(self.directory, "ready")), 20, "a namespace")
        with open(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children") as f:
            self.init = int(f.read().split()[0])

    def lose(self):
        """The node is gone for good: all its processes, and with them its mounts."""
        if self.holder.poll() is None:
            self.holder.kill()
            self.holder.wait(20)

    def argv(self, *argv):
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--", *map(str, argv)]

    def env(self, **more):
        env = self.lab.gateway.env()
        env.update(TMPDIR=os.path.join(self.directory, "tmp"), OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo",
                   RAY_USAGE_STATS_ENABLED="0", RAY_DISABLE_IMPORT_WARNING="1",
                   RAY_TRAIN_ENABLE_STATE_TRACKING="0", RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="600",  # a busy machine is slow
                   PYTHONDONTWRITEBYTECODE="1", **more)
        env.pop("PYTHONPATH", None)
        return env

    def run(self, *argv, timeout=120, **env):
        return process.run(self.argv(*argv), timeout, self.env(**env)).out

    def processes(self):
        """{pid: command line} of what runs on the node, its first process aside."""
        def namespace(pid):
            return os.readlink(f"/proc/{pid}/ns/pid")

        ours, found = namespace(self.init), {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if namespace(pid) == ours and int(pid) != self.init:
                    with open(f"/proc/{pid}/cmdline") as f:
                        found[int(pid)] = f.read().replace("\0", " ").strip()
            except OSError:
                pass  # it is gone
        return found

    def kill(self, *beginnings):
        """Kills every process whose command line begins so; returns how many. Ray's agents
        stay: a raylet does not outlive them."""
        killed = 0
        for pid, command in self.processes().items():
            if command.startswith(beginnings) and "Agent" not in command:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
        return killed

    # trainfs

    def mount(self, *options, source=None, **env):
        if source != "":
            options += ("cache_dir=" + self.cache,)
        argv = [self.lab.trainfs, "mount", "-o", ",".join(("sync_period=2s", *options))]
        if source != "":
            argv += [source or self.lab.source]
        self.run(*argv, TRAIN, **env)
        self.daemon = self.status()["pid"]

    def status(self):
        told = json.loads(self.run(self.lab.trainfs, "status", "--json", TRAIN))
        return {**told, "units": told["units"] or []}

    def wait(self, timeout=120):
        self.run(self.lab.trainfs, "wait", "-q", "--timeout", f"{timeout}s", TRAIN, timeout=timeout + 20)

    def kill_daemon(self):
        if not self.kill(self.lab.trainfs + " ", "trainfs"):
            raise Failed(f"no daemon runs on node {self.number}: {self.processes()}")
        process.until(lambda: not self.daemons(), 20, "the daemon ends")

    def daemons(self):
        return [c for c in self.processes().values() if c.startswith((self.lab.trainfs + " ", "trainfs"))]

    # Ray

    def ray(self, *argv, timeout=120):
        return self.run(sys.executable, "-m", "ray.scripts.scripts", *argv, timeout=timeout)

    def start_ray(self, head):
        common = [f"--node-ip-address={self.address}", "--num-cpus=2", f"--object-store-memory={100 << 20}"]
        if head is self:
            self.ray("start", "--head", f"--port={self.lab.ray_port}", "--include-dashboard=false", *common)
        else:
            self.ray("start", f"--address={head.address}:{self.lab.ray_port}", *common)

    def kill_ray(self):
        for pid, command in self.processes().items():
            if command.startswith(("ray::", sys.executable)) or "/ray/" in command.split(" ")[0]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def log_tail(self):
        try:
            with open(os.path.join(self.cache, "trainfs.log")) as f:
                return "".join(f.readlines()[-20:])
        except OSError:
            return ""
