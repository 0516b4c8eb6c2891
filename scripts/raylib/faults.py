"""Faults while Ray is running, each in the middle of a report."""

import json
import os
import signal

from benchlib import process
from raylib import Failed
from raylib.node import TRAIN


def worker_killed(lab):
    """kill -9 of a training process that is writing a checkpoint: Ray resumes from the newest whole one."""
    if not lab.nodes:
        lab.two_nodes()
    with lab.watch("worker"):
        job = lab.job("worker", epochs=6, mib=32, failures=3)
        job.until_trained(2)
        pid, half = stopped_while_writing(job, lab.nodes[1])
        os.kill(pid, signal.SIGKILL)
        lab.say(f"a worker is killed while it writes {half}")
        job.ends()
        restarted(job)
        drain(lab)
    torn_is_told_and_goes(lab, "worker", half)


def daemon_killed(lab):
    """kill -9 of one node's daemon during a report, mounted again: Ray resumes, nothing is lost."""
    if not lab.nodes:
        lab.two_nodes()
    with lab.watch("daemon"):
        job = lab.job("daemon", epochs=7, mib=32, failures=10, pause=1)
        job.until_trained(2)
        node = lab.nodes[1]
        pid, half = stopped_while_writing(job, node)
        node.kill_daemon()
        lab.say(f"the daemon of node 1 is killed while a worker writes {half}")
        os.kill(pid, signal.SIGCONT)
        node.mount()
        job.ends()
        restarted(job)
        drain(lab)
    torn_is_told_and_goes(lab, "daemon", half)


def node_lost(lab):
    """A node is lost for good while its rank's report is on its way; another takes its place."""
    lab.two_nodes("settle=2s")
    with lab.watch("lost"):
        job = lab.job("lost", epochs=6, failures=10, mib=32, pause=2)
        lost, run = lab.nodes[1], lab.bucket("lost")
        job.until(lambda: len(run.snapshot()[1]) == 2, "two checkpoints are in the bucket")
        _, half = stopped_while_writing(job, lost)
        lost.lose()
        lab.nodes.remove(lost)
        lab.say(f"node 1 is lost while a worker writes {half}")
        other = lab.new_node("settle=2s")
        other.start_ray(lab.head)
        job.ends()
        restarted(job)
        drain(lab)
    lab.collect_garbage()  # the lost node's uploads
    left = run.check_end(interrupted=True)
    fsck_names(lab, "lost", half)
    if half in other.run("ls", f"{TRAIN}/lost").split():
        raise Failed(f"{half}, which will never be whole, shows on the new node")
    remove(lab, "lost", {half, *left})  # the head has its own half of it
    lab.end_nodes()


def stopped_while_writing(job, node):
    """Stops the training process on a node when it has a file of a checkpoint open for writing;
    returns the process and the checkpoint."""
    inner = [n["pid"] for n in job.own("started") if n["node"] == node.address][-1]
    pid, caught = outer(node, inner), []

    def catch():
        if not writes(pid):
            return False
        os.kill(pid, signal.SIGSTOP)
        caught[:] = filter(None, [writes(pid)])
        if not caught:
            os.kill(pid, signal.SIGCONT)
        return caught

    job.until(catch, "a worker writes a checkpoint", every=0.002)
    return pid, caught[0]


def outer(node, inner):
    """The process that has this number within the node."""
    for pid in node.processes():
        with open(f"/proc/{pid}/status") as f:
            numbers = [line.split()[-1] for line in f if line.startswith("NSpid:")]
        if numbers == [str(inner)]:
            return pid
    raise Failed(f"node {node.number} has no process {inner}")


def writes(pid):
    """Name of a checkpoint of which a process has a file open in the mount, None if there is none."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            parts = os.readlink(f"/proc/{pid}/fd/{fd}").split("/")
            if "/".join(parts[:3]) == TRAIN and len(parts) > 5 and parts[4].startswith("checkpoint_"):
                return parts[4]
    except FileNotFoundError:
        pass  # closed meanwhile
    return None


def restarted(job):
    starts = [n["first"] for n in job.own("started")]
    if not any(first > 0 for first in starts):
        raise Failed(f"the job never resumed from a checkpoint: it started at {starts}")


def drain(lab):
    """Waits until only what is torn is left."""
    def drained(told):
        return not told["deletions"] and len(told["units"]) == len(torn(told))

    for node in lab.nodes:
        process.until(lambda: drained(node.status()), 180, f"uploads and deletions of node {node.number}", every=0.5)


def torn(told):
    return [u["path"] for u in told["units"] if u["state"] == "torn"]


def fsck_names(lab, run, checkpoint):
    found = [json.loads(line) for line in lab.head.run(lab.trainfs, "fsck", "--json", lab.source).splitlines()]
    if f"{run}/{checkpoint}" not in [u["unit"] for u in found if not u["complete"]]:
        raise Failed(f"fsck does not say that {checkpoint} is not complete: {found}")


def torn_is_told_and_goes(lab, name, half):
    """What a fault has torn is named by status and fsck; deleted through the mount, it leaves nothing."""
    node = lab.nodes[1]
    left = lab.bucket(name).check_end(interrupted=True)
    if f"{name}/{half}" not in torn(node.status()):
        raise Failed(f"status does not say that {half} is torn: {node.status()['units']}")
    fsck_names(lab, name, half)
    remove(lab, name, {half, *left})


def remove(lab, name, left):
    """Deletes what interrupted reports have left, of which Ray knows nothing: the last one, and
    perhaps one that the controller had not heard of yet."""
    lab.say(f"left of interrupted reports: {sorted(left)}")
    for node in lab.nodes:
        node.run("rm", "-rf", *(f"{TRAIN}/{name}/{checkpoint}" for checkpoint in sorted(left)))
    drain(lab)
    lab.bucket(name).check_end()
