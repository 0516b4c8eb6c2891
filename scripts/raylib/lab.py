"""The S3 server, the nodes, and the jobs that run on them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from benchlib import gateway, process
from raylib import Failed
from raylib.bucket import Run
from raylib.node import LOCAL, TRAIN, Node
from raylib.watch import Watch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUCKET = "runs"
JOB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "job.py")


class Lab:
    def __init__(self, options, cleanup):
        self.options, self.cleanup, self.made = options, cleanup, 0
        self.work = tempfile.mkdtemp(prefix="trainfs-ray.", dir=options.dir)
        cleanup.add(self.remove)
        self.local = self.fresh("local")
        self.program = os.path.join(self.work, JOB.replace("/", "_"))
        shutil.copyfile(JOB, self.program)  # the checkout may lie where a node does not see it
        self.trainfs = os.path.join(self.work, "trainfs")
        process.run(["go", "build", *(["-race"] if options.race else []), "-o", self.trainfs, "./cmd/trainfs"], 600, cwd=ROOT)
        self.gateway = gateway.Gateway(self.fresh("s3") + "/objects", self.work, cleanup)
        self.gateway.make_bucket(BUCKET)
        self.nodes, self.jobs = [], []
        with socket.socket() as s:
            s.bind(("127.0.0.2", 0))
            self.ray_port = s.getsockname()[1]

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

    @property
    def source(self):
        return f"s3://{BUCKET}/train?endpoint_override={self.gateway.endpoint}&region={gateway.REGION}"

    @property
    def head(self):
        return self.nodes[0]

    def new_node(self, *options):
        """A further node, with its mount, in the cluster if there is one."""
        node = Node(self, max((n.number for n in self.nodes), default=-1) + 1)
        node.mount(*options)
        self.nodes.append(node)
        return node

    def two_nodes(self, *options):
        """Ends the nodes there are and starts two new ones, with a Ray cluster."""
        self.end_nodes()
        for _ in range(2):
            self.new_node(*options)
        self.start_ray()

    def start_ray(self):
        for node in self.nodes:
            node.start_ray(self.head)

    def restart_ray(self):
        for node in self.nodes:
            node.kill_ray()
        self.start_ray()

    def end_nodes(self):
        for node in self.nodes:
            node.lose()
        self.nodes = []

    def drain(self):
        for node in self.nodes:
            node.wait()

    def collect_garbage(self):
        """Removes unfinished uploads, as an operator does who knows that no node is uploading now."""
        self.head.run(self.trainfs, "gc", "--older-than", "0s", self.source)

    def job(self, name, **config):
        notes = os.path.join(self.work, name + ".notes")
        config = {"name": name, "storage": TRAIN, "notes": notes, "epochs": 5, "mib": 4, "version": 2, "pause": 0.3,
                  "cluster": f"{self.head.address}:{self.ray_port}", "head": self.head.address, **config}
        return Job(self, config)

    def watch(self, name, version=2):
        return Watch(self.gateway, BUCKET, "train/" + name, version)

    def bucket(self, name):
        return Run(self.gateway, BUCKET, "train/" + name)


class Job:
    """A run of job.py on the head node."""

    def __init__(self, lab, config):
        self.lab, self.config = lab, config
        lab.made += 1
        base = os.path.join(lab.work, f"{lab.made}-{config['name']}")
        with open(base + ".json", "w") as f:
            json.dump(config, f)
        self.log = base + ".log"
        self.before = len(self.notes())  # of earlier attempts of this run
        env = lab.head.env(RAY_TRAIN_V2_ENABLED=str(int(config["version"] == 2)))
        if config.get("from_environment"):
            env["RAY_STORAGE"] = config["storage"]
        self.child = process.daemon(lab.head.argv(sys.executable, lab.program, base + ".json"), self.log, env, signal.SIGKILL)

    def notes(self, event=None):
        try:
            with open(self.config["notes"]) as f:
                all_notes = [json.loads(line) for line in f]
        except FileNotFoundError:
            return []
        return [n for n in all_notes if event in (None, n["event"])]

    def own(self, event):
        """The notes of this attempt, without those of earlier ones."""
        return [n for n in self.notes()[self.before:] if n["event"] == event]

    def until(self, condition, what, timeout=300, every=0.02):
        """Waits for something that the running job is to bring about."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.child.poll() is not None:
                raise Failed(f"before {what}, the job ended with {self.child.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"not within {timeout} s: {what}\n{self.tail()}")
            time.sleep(every)

    def until_trained(self, epoch):
        self.until(lambda: any(n["epoch"] >= epoch for n in self.own("trained")), f"epoch {epoch}")

    def ends(self, timeout=600):
        """Waits for the end of the job, which has to be a good one."""
        try:
            code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"the job did not end within {timeout} s:\n{self.tail()}") from None
        if code != 0:
            raise Failed(f"the job ended with {code}:\n{self.tail()}")
        finished = self.notes("finished")[-1]
        if finished["metrics"] != self.config["epochs"] - 1:
            raise Failed(f"the job ended after epoch {finished['metrics']}")
        self.check_weights()

    def check_weights(self):
        """What was trained or restored for an epoch is the same in every attempt, on every rank."""
        weights = {}
        for n in self.notes():
            if n["event"] == "trained":
                epoch = n["epoch"]
            elif n["event"] == "started" and n["first"] > 0:
                epoch = n["first"] - 1
            else:
                continue
            if weights.setdefault(epoch, n["weights"]) != n["weights"]:
                raise Failed(f"epoch {epoch} has other weights than before: {n}")
        if self.config["version"] == 2 and len({n["node"] for n in self.notes("started")}) < 2:
            raise Failed("all ranks ran on one node")

    def kill(self):
        """kill -9 of the driver and of all that it has started."""
        for node in self.lab.nodes:
            node.kill(f"{sys.executable} {self.lab.program}", "ray::")
        self.child.kill()
        self.child.wait(20)

    def tail(self):
        try:
            with open(self.log, errors="replace") as f:
                log = "".join(f.readlines()[-40:])
        except OSError:
            log = ""
        return log + "".join(f"--- trainfs on node {n.number}:\n{n.log_tail()}" for n in self.lab.nodes)
