"""Faults while Ray is running."""

import os
import signal
import sys
import time

from raylib import Failed
from raylib.node import TRAIN


def worker_killed(lab):
    """kill -9 of one training process: Ray resumes from the newest checkpoint."""
    if not lab.nodes:
        lab.two_nodes()
    with lab.watch("worker"):
        job = lab.job("worker", epochs=6, failures=3)
        job.until_trained(2)
        victim = job.notes("started")[-1]
        if not any(kill_inner(node, victim["pid"]) for node in lab.nodes if node.address == victim["node"]):
            raise Failed(f"no worker to kill: {victim}")
        job.ends()
        restarted(job)
        lab.drain()
    left = lab.bucket("worker").check_end(interrupted=True)
    lab.say(f"left of the interrupted report: {left}")


def kill_inner(node, pid):
    """Kills a process by the number that it has within the node."""
    for outer in node.processes():
        with open(f"/proc/{outer}/status") as f:
            inner = [line.split()[-1] for line in f if line.startswith("NSpid:")]
        if inner == [str(pid)]:
            os.kill(outer, signal.SIGKILL)
            return True
    return False


def restarted(job):
    starts = [n["first"] for n in job.notes("started")]
    if not any(first > 0 for first in starts):
        raise Failed(f"the job never resumed from a checkpoint: it started at {starts}")


def daemon_killed(lab):
    """kill -9 of one node's daemon, which is mounted again: Ray resumes, nothing is lost."""
    if not lab.nodes:
        lab.two_nodes()
    with lab.watch("daemon"):
        job = lab.job("daemon", epochs=7, failures=10, pause=1)
        job.until_trained(2)
        node = lab.nodes[1]
        node.kill_daemon()
        lab.say("daemon of node 1 killed")
        node.mount()
        job.ends()
        lab.drain()
    left = lab.bucket("daemon").check_end(interrupted=True)
    lab.say(f"left of interrupted reports: {left}")


def node_lost(lab):
    """A node is lost for good while its rank's report is on its way; another takes its place."""
    lab.two_nodes("settle=2s")
    with lab.watch("lost") as watch:
        job = lab.job("lost", epochs=6, failures=10, mib=32, pause=2)
        lost, run = lab.nodes[1], lab.bucket("lost")
        job.until(lambda: len(run.snapshot()[1]) == 2, "two checkpoints are in the bucket")
        known = set(os.listdir(os.path.join(lost.cache, "tree", "lost")))
        job.until(lambda: half_written(lost, known), "a report on its way")
        lost.lose()
        lab.nodes.remove(lost)
        lab.say("node 1 lost")
        other = lab.new_node("settle=2s")
        other.start_ray(lab.head)
        job.ends()
        restarted(job)
        lab.drain()
    left = sorted(set(run.checkpoints()) - set(run.snapshot()[1]))
    lab.say(f"in the bucket beside the two that the snapshot names: {left}; markers {[m for m in run.markers() if m.endswith('.open')]}")
    named = run.snapshot()[1]
    if len(named) != 2 or any(run.missing(name, content=True) for name in named):
        raise Failed(f"the snapshot names {named}")
    # What the lost node was writing shows in no mount: it will never be whole.
    for name in {m.split("/")[0] for m in run.markers() if m.endswith(".open")}:
        if name in other.run("ls", f"{TRAIN}/lost").split():
            raise Failed(f"{name} shows on the new node")
    lab.end_nodes()


def half_written(node, known):
    """A checkpoint directory that the node has begun and whose last file is not there."""
    tree = os.path.join(node.cache, "tree", "lost")
    for name in os.listdir(tree):
        if name.startswith("checkpoint_2") and name not in known:
            files = [f for _, _, files in os.walk(os.path.join(tree, name)) for f in files]
            if "ballast.bin" in files and os.path.exists(os.path.join(tree, name)):
                return True
    return False
