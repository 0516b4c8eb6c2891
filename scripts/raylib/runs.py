"""Runs that go well: to their end, in every mode, with everything from the environment."""

import hashlib
import os

from raylib import Failed, reading
from raylib.node import TRAIN


def to_the_end(lab):
    """Train V2 on two nodes: the snapshot never names what is not whole, two checkpoints stay."""
    lab.two_nodes()
    with lab.watch("end") as watch:
        job = lab.job("end", epochs=8, board=f"{TRAIN}/end", pause=1)
        reading.board_grows(lab, job, "train/end/tb")
        job.ends()
        lab.drain()
    lab.bucket("end").check_end()
    lab.say(f"{watch.looks} looks at the bucket, {len(watch.seen)} snapshots seen")


def modes(lab):
    """SYNC, ASYNC and NO_UPLOAD, the last straight into the mount."""
    if not lab.nodes:
        lab.two_nodes()
    for mode in ("SYNC", "ASYNC", "NO_UPLOAD"):
        name = mode.lower().replace("_", "-")
        with lab.watch(name):
            lab.job(name, mode=mode).ends()
            lab.drain()
        lab.bucket(name).check_end()


def train_v1(lab):
    """Train V1 with Tune underneath: trial directory, result.json, event files, artifacts."""
    if not lab.nodes:
        lab.two_nodes()
    v1(lab, lab.job("v1", version=1, artifacts=True, pause=1))


def v1(lab, job):
    with lab.watch(job.config["name"], version=1) as watch:
        job.ends()
        lab.drain()
    lab.say(f"{watch.looks} looks at the bucket, {len(watch.seen)} states seen")
    run = lab.bucket(job.config["name"])
    keys = run.list()
    trials = {key.split("/")[0] for key in keys if key.endswith("/result.json")}
    if len(trials) != 1:
        raise Failed(f"trial directories {trials}, of {sorted(keys)}")
    trial = trials.pop() + "/"
    run.check_end(below=trial)
    wanted = [trial + name for name in ("result.json", "progress.csv", "params.json")]
    if job.config.get("artifacts"):
        wanted += [trial + f"artifact-{rank}.txt" for rank in (0, 1)]
    missing = [name for name in wanted if name not in keys]
    if not any("events.out.tfevents" in key for key in keys):
        missing.append("event files")
    for state in ("experiment_state-", "trainer.pkl", "tuner.pkl"):
        if not any(key.startswith(state) for key in keys):
            missing.append(state)
    if missing:
        raise Failed(f"not in the bucket: {missing}, but {sorted(keys)}")
    lines = run.get(trial + "result.json").decode().splitlines()
    if len(lines) != job.config["epochs"]:
        raise Failed(f"result.json has {len(lines)} lines")
    for key in keys:  # what is in the mount is what is in the bucket
        path = os.path.join(TRAIN, job.config["name"], key)
        if lab.head.run("sha256sum", path).split()[0] != hashlib.sha256(run.get(key)).hexdigest():
            raise Failed(f"{key} differs between the mount and the bucket")


def environment(lab):
    """RAY_STORAGE instead of a storage path, of trainfs and of Ray; RAY_AIR_LOCAL_CACHE_DIR for the cache."""
    lab.end_nodes()
    for _ in range(2):
        node = lab.new_node()
        node.run(lab.trainfs, "umount", TRAIN)
        cache = os.path.join(node.directory, "air")
        node.mount(source="", RAY_STORAGE=lab.source, RAY_AIR_LOCAL_CACHE_DIR=cache)
        if not node.status()["cache_dir"].startswith(cache + "/"):
            raise Failed(f"the cache is {node.status()['cache_dir']}")
    lab.start_ray()
    v1(lab, lab.job("environment", version=1, from_environment=True))
    lab.end_nodes()
