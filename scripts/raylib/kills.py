"""The whole job killed at a random epoch, and resumed: many times in a row."""

import json
import random

from raylib import Failed
from raylib.bucket import SNAPSHOT
from raylib.faults import drain
from raylib.node import TRAIN

HOW = ("job", "job and daemons", "both nodes for good")
NEVER = 1000  # epochs that a job is not given the time for


def kills(lab):
    """Killed at a random epoch and resumed, with the right epoch and equal weights, --kills times in a row."""
    lab.two_nodes()
    dice = random.Random(lab.options.seed)
    lab.say(f"--seed {lab.options.seed}")
    done = -1  # the last epoch of the attempt before
    run = lab.bucket("kills")
    with lab.watch("kills") as watch:
        for turn in range(lab.options.kills):
            job = lab.job("kills", epochs=NEVER, pause=0.2)
            job.until_trained(done + dice.randint(2, 4))
            job.until(lambda: run.snapshot()[1], "a snapshot in the bucket")
            lab.head.run("sleep", f"{dice.uniform(0, 0.8):.3f}")
            job.kill()
            how = HOW[turn % len(HOW)]
            newest = strike(lab, run, how)
            lab.say(f"kill {turn + 1}: {how}, in epoch {job.own('trained')[-1]['epoch']}; the newest checkpoint is of epoch {newest}")
            if newest < done:
                raise Failed(f"epoch {done} was in the bucket, and the newest checkpoint is of epoch {newest}")
            done = resume(lab, newest)
        lab.job("kills", epochs=done + 3).ends()
        drain(lab)
    lab.collect_garbage()  # uploads that the lost nodes have begun
    left = run.check_end(interrupted=True)
    lab.say(f"{lab.options.kills} kills, {watch.looks} looks at the bucket; left of interrupted reports: {left}")


def strike(lab, run, how):
    """What else is killed with the job; returns the epoch of the checkpoint that a resume has to find."""
    if how == "both nodes for good":  # what is in the bucket is all there is
        lab.end_nodes()
        newest = run.epoch(run.snapshot()[1][-1])
        lab.two_nodes()
        return newest
    if how == "job and daemons":
        for node in lab.nodes:
            node.kill_daemon()
            node.mount()
    told = json.loads(lab.head.run("cat", f"{TRAIN}/kills/{SNAPSHOT}"))
    newest = told["latest_checkpoint_result"]["checkpoint_dir_name"]
    return json.loads(lab.head.run("cat", f"{TRAIN}/kills/{newest}/rank0/files.json"))["epoch"]


def resume(lab, newest):
    """Starts the job again; it has to begin right after the newest checkpoint's epoch, with its weights."""
    job = lab.job("kills", epochs=newest + 2)
    job.until(lambda: len(job.own("started")) >= 2, "both ranks have started again")
    for note in job.own("started"):
        if note["first"] != newest + 1:
            raise Failed(f"rank {note['rank']} resumed at epoch {note['first']}, the newest checkpoint is of {newest}")
    job.ends()
    drain(lab)  # what was being written at the kill stays torn
    return newest + 1
