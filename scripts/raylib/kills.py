"""The whole job killed at a random epoch, and resumed: many times in a row."""

import random

from raylib import Failed

HOW = ("job", "job and daemons", "both nodes for good")


def kills(lab):
    """Killed at a random epoch and resumed, with the right epoch and equal weights, --kills times in a row."""
    lab.two_nodes()
    dice = random.Random(lab.options.seed)
    done, epochs = 0, 2
    run = lab.bucket("kills")
    with lab.watch("kills") as watch:
        for turn in range(lab.options.kills):
            target = done + dice.randint(1, 3)
            epochs = target + 40  # never reached
            job = lab.job("kills", epochs=epochs, pause=0.2)
            started = len(job.notes("started"))
            job.until_trained(target)
            job.until(lambda: run.snapshot()[1], "a snapshot in the bucket")
            lab.head.run("sleep", f"{dice.uniform(0, 0.8):.3f}")
            job.kill()
            how = HOW[turn % len(HOW)]
            expected = strike(lab, run, how)
            lab.say(f"kill {turn + 1}: {how}, after epoch {job.notes('trained')[-1]['epoch']}; the newest checkpoint is of epoch {expected}")
            done = resume(lab, job, expected, started)
        lab.job("kills", epochs=done + 3).ends()
        lab.drain()
    run.check_end(interrupted=True)
    lab.say(f"{lab.options.kills} kills, {watch.looks} looks at the bucket")


def strike(lab, run, how):
    """What else is killed with the job; returns the epoch that a resume has to begin from."""
    if how == "both nodes for good":
        lab.end_nodes()
        newest = run.snapshot()[1][-1]
        expected = run.epoch(newest)
        lab.two_nodes()
        return expected
    if how == "job and daemons":
        for node in lab.nodes:
            node.kill_daemon()
            node.mount()
    told = lab.head.run("cat", f"/mnt/train/kills/checkpoint_manager_snapshot.json")
    import json

    newest = json.loads(told)["latest_checkpoint_result"]["checkpoint_dir_name"]
    return json.loads(lab.head.run("cat", f"/mnt/train/kills/{newest}/rank0/files.json"))["epoch"]


def resume(lab, before, expected, started):
    """Starts the job again; it has to begin right after the epoch expected, with its weights."""
    job = lab.job("kills", epochs=expected + 1 + 1)
    job.until(lambda: len(job.notes("started")) >= started + 4, "both ranks have started again")
    for note in job.notes("started")[-2:]:
        if note["first"] != expected + 1:
            raise Failed(f"rank {note['rank']} resumed at epoch {note['first']}, the newest checkpoint is of {expected}")
    job.ends()
    return expected + 1
