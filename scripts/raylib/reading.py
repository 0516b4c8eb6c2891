"""Reading a run without trainfs, and through a read-only mount."""

import json
import os
import sys

from raylib import Failed
from raylib.node import TRAIN, Node

# Runs in a process of its own: what it needs from the environment differs.
READER = """
import hashlib, json, os, sys, tempfile
import pyarrow.fs, s3fs
bucket, endpoint, names = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from ray.train import Checkpoint
arrow = pyarrow.fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
spec = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
def check(directory):
    for rank in (0, 1):
        listed = json.load(open(os.path.join(directory, f"rank{rank}", "files.json")))["files"]
        for name, (size, sha) in listed.items():
            with open(os.path.join(directory, f"rank{rank}", name), "rb") as f:
                assert hashlib.sha256(f.read()).hexdigest() == sha, (directory, name)
for name in names:
    path = f"{bucket}/{name}"
    with Checkpoint(path, filesystem=arrow).as_directory() as directory:
        check(directory)
    assert len(spec.ls(path)) == 2, spec.ls(path)
    with tempfile.TemporaryDirectory() as directory:
        spec.get(path + "/", directory + "/", recursive=True)
        check(directory)
print("same")
"""

BOARD = """
import os, sys, tempfile
import s3fs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
spec = s3fs.S3FileSystem(endpoint_url=sys.argv[2], skip_instance_cache=True)
with tempfile.TemporaryDirectory() as directory:
    for path in spec.find(sys.argv[1]):
        spec.get(path, os.path.join(directory, os.path.basename(path)))
    events = EventAccumulator(directory); events.Reload()
    print(len(events.Scalars("loss")) if "loss" in events.Tags()["scalars"] else 0)
"""


def python(lab, program, *argv):
    return lab.head.run(sys.executable, "-c", program, *argv, timeout=120).strip().splitlines()[-1]


def board_grows(lab, job, prefix):
    """TensorBoard's reader finds the first epochs in the bucket while the job goes on."""
    job.until_trained(2)
    seen = []
    while not seen or seen[-1] < 2:
        seen.append(int(python(lab, BOARD, f"runs/{prefix}", lab.gateway.endpoint)))
        if job.child.poll() is not None:
            break
    if job.child.poll() is not None or seen[-1] < 2:
        raise Failed(f"while the job ran, the event files in the bucket had {seen} values")
    lab.say(f"TensorBoard's reader sees {seen[-1]} epochs in the bucket while the job runs")


def read_without(lab):
    """pyarrow, s3fs and a read-only mount load the checkpoints from the bucket."""
    run = lab.bucket("read")
    if not lab.nodes:
        lab.two_nodes()
    with lab.watch("read"):
        lab.job("read", epochs=3).ends()
        lab.drain()
    run.check_end()
    named = run.snapshot()[1]
    if python(lab, READER, "runs/train/read", lab.gateway.endpoint, json.dumps(named)) != "same":
        raise Failed("another reader")
    reader = Node(lab, 9)
    try:
        reader.mount("ro")
        for name in named:
            for rank in (0, 1):
                listed = json.loads(reader.run("cat", f"{TRAIN}/read/{name}/rank{rank}/files.json"))["files"]
                for file, (_, sha) in listed.items():
                    got = reader.run("sha256sum", f"{TRAIN}/read/{name}/rank{rank}/{file}").split()[0]
                    if got != sha:
                        raise Failed(f"{name}/rank{rank}/{file} differs through a read-only mount")
        if os.path.basename(reader.run("sh", "-c", f"touch {TRAIN}/x 2>&1 || echo refused").strip()) [-7:] != "refused":
            raise Failed("a read-only mount can be written to")
    finally:
        reader.lose()
