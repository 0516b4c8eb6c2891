"""The S3 server, and nodes: each a trainfs mount with a cache directory of its own."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from benchlib import gateway, process

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUCKET = "models"


class Lab:
    def __init__(self, options, cleanup):
        self.options, self.cleanup, self.made, self.nodes = options, cleanup, 0, []
        self.work = tempfile.mkdtemp(prefix="trainfs-frameworks.", dir=options.dir)
        cleanup.add(self.remove)
        self.trainfs = os.path.join(self.work, "trainfs")
        process.run(["go", "build", "-o", self.trainfs, "./cmd/trainfs"], 600, cwd=ROOT)
        self.gateway = gateway.Gateway(self.fresh("s3") + "/objects", self.work, cleanup)
        self.gateway.make_bucket(BUCKET)
        cleanup.add(self.end_nodes)

    def say(self, text):
        print(f"  {time.strftime('%H:%M:%S')} {text}", flush=True)

    def fresh(self, name):
        self.made += 1
        path = os.path.join(self.work, f"{self.made}-{name}")
        os.makedirs(path)
        return path

    def remove(self):
        if self.options.keep:
            self.say(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    def nodes_for(self, count):
        """So many new nodes with empty caches, mounted where those before them were."""
        self.end_nodes()
        self.nodes = [Node(self, os.path.join(self.work, f"mnt{i}")) for i in range(count)]
        return self.nodes

    def end_nodes(self):
        for node in self.nodes:
            node.end()
        self.nodes = []

    def objects(self, path):
        """{key below path: size}, as the server lists them."""
        found = self.gateway.list(BUCKET, f"runs/{path}/")
        return {key[len(f"runs/{path}/"):]: size for key, size in found.items() if not key.endswith("/")}

    def object(self, path):
        return self.gateway.get(f"/{BUCKET}/runs/{path}".replace("=", "%3D"), {})


class Node:
    def __init__(self, lab, mount):
        self.lab, self.mount = lab, mount
        os.makedirs(mount, exist_ok=True)
        source = f"s3://{BUCKET}/runs?endpoint_override={lab.gateway.endpoint}&region={gateway.REGION}"
        options = f"sync_period=2s,cache_dir={lab.fresh('node')}/cache"
        process.run([lab.trainfs, "mount", "-o", options, source, self.mount], 60, lab.gateway.env())

    def run(self, *argv, timeout=90):
        return process.run([self.lab.trainfs, *argv], timeout, self.lab.gateway.env()).out

    def settle(self, path):
        """Waits until all that is finished below path is durable; returns what is torn."""
        process.until(lambda: not self.pending(path), 180, f"all below {path} is committed on {self.mount}", every=0.3)
        return [u["path"] for u in self.units(path) if u["state"] == "torn"]

    def pending(self, path):
        return self.status()["deletions"] or [u for u in self.units(path) if u["state"] != "torn"]

    def status(self):
        return json.loads(self.run("status", "--json", self.mount))

    def units(self, path):
        return [u for u in self.status()["units"] or [] if u["path"] == path or u["path"].startswith(path + "/")]

    def end(self):
        """Its node is lost, with what it has not uploaded."""
        subprocess.run([self.lab.trainfs, "umount", "--no-wait", self.mount], env=self.lab.gateway.env(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=90)
