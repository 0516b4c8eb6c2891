"""What each job goes through: trained on the local disk, for comparison, and on mounts; killed
there; resumed on other nodes, which have nothing but the bucket."""

import fnmatch
import json
import os
import random
import signal
import sys
import time

from benchlib import process
from frameworklib import Failed

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE = 240  # seconds for a process that imports one of these libraries on a busy machine


class Framework:
    def __init__(self, name, job, what, packages, checkpoints, ranks=1, calm=False):
        self.name, self.job, self.what, self.packages = name, job, what, packages
        self.checkpoints, self.ranks, self.calm = checkpoints, ranks, calm


# checkpoints: what a checkpoint's name is like, below the job's directory. calm: nothing says that
# a checkpoint is finished, so what a kill in the middle of one leaves is whole for the library
# itself (gap G1), and the kill comes between two.
FRAMEWORKS = {f.name: f for f in (
    Framework("dcp", "dcp_loop", "torch.distributed.checkpoint, two ranks on two nodes, gloo", "torch", "step-*", ranks=2),
    Framework("safetensors", "safetensors_loop", "safetensors, a file a step", "safetensors", "step-*"),
    Framework("hf-trainer", "hf_trainer", "Trainer of transformers, with TensorBoard", "transformers", "checkpoint-*", calm=True),
    Framework("accelerate", "accelerate_loop", "accelerate, save_state with automatic names", "accelerate", "checkpoints/*", calm=True),
    Framework("lightning", "lightning_trainer", "Lightning, ModelCheckpoint with last.ckpt as a link", "pytorch-lightning", "checkpoints/*step=*.ckpt"),
    Framework("keras", "keras_fit", "Keras on JAX, ModelCheckpoint and BackupAndRestore", "keras jax", "model-*.keras", calm=True),
    Framework("orbax", "orbax_manager", "Orbax, CheckpointManager, asynchronous", "orbax-checkpoint jax", "checkpoints/[0-9]*"),
)}


class Job:
    """A run of a job: a process a rank."""

    def __init__(self, lab, framework, directories, steps):
        work = lab.fresh(framework.name)
        self.notes, self.log, self.what = os.path.join(work, "notes"), os.path.join(work, "log"), framework.job
        argv = [sys.executable, "-B", "-m", "frameworklib.jobs." + framework.job, "train"]
        self.ranks = [process.daemon([*argv, d, self.notes, str(steps)], self.log, environment(lab, RANK=str(rank),
                      WORLD_SIZE=str(framework.ranks), RENDEZVOUS=os.path.join(work, "rendezvous")), signal.SIGKILL)
                      for rank, d in enumerate(directories)]
        lab.cleanup.add(self.kill)

    def events(self, event):
        try:
            with open(self.notes) as f:
                return [e for e in map(json.loads, (line for line in f if line.endswith("\n"))) if e["event"] == event]
        except FileNotFoundError:
            return []

    def step(self, event):
        return max((e["step"] for e in self.events(event)), default=0)

    def weights(self):
        """{(rank, step): digest}."""
        return {(e.get("rank", 0), e["step"]): e["weights"] for e in self.events("trained")}

    def kill(self):
        for child in self.ranks:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(30)

    def alive(self):
        return [c for c in self.ranks if c.poll() is None]

    def ends(self):
        process.until(lambda: not self.alive(), PATIENCE, f"{self.what} ends")
        if any(c.returncode for c in self.ranks) or len(self.events("finished")) != len(self.ranks):
            raise Failed(f"{self.what} failed: {self.tail()}")

    def reaches(self, event, step):
        process.until(lambda: self.step(event) >= step or len(self.alive()) < len(self.ranks), PATIENCE, f"{self.what} has {event} {step}")
        if self.step(event) < step:
            raise Failed(f"{self.what} ended early: {self.tail()}")

    def tail(self):
        with open(self.log, errors="replace") as f:
            return " / ".join(line.strip() for line in f.readlines()[-4:])


def environment(lab, **more):
    env = lab.gateway.env()
    env.update(PYTHONPATH=SCRIPTS, PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", JAX_PLATFORMS="cpu", HF_HUB_OFFLINE="1",
               GLOO_SOCKET_IFNAME="lo", TMPDIR=lab.work, **more)
    return env


class Life:
    def __init__(self, lab, framework):
        self.lab, self.framework, self.failed = lab, framework, ""
        self.chance = random.Random(f"{lab.options.seed} {framework.name}")
        self.killed = self.resumed = self.torn = self.objects = self.bytes = None

    def live(self):
        f, steps = self.framework, self.lab.options.steps
        here = Job(self.lab, f, [self.lab.fresh("local")] * f.ranks, steps)
        first = self.lab.nodes_for(f.ranks)
        job = Job(self.lab, f, [os.path.join(n.mount, f.name) for n in first], steps)
        self.kill(job)
        here.ends()
        self.torn = sorted({path for n in first for path in n.settle(f.name)})
        second = self.lab.nodes_for(f.ranks)
        directories = [os.path.join(n.mount, f.name) for n in second]
        self.resumed = self.load(directories[0], here)
        if self.resumed < self.killed:
            raise Failed(f"step {self.killed} was saved, and the bucket has {self.resumed}")
        job = Job(self.lab, f, directories, steps)
        job.ends()
        if wrong := [key for key, weights in job.weights().items() if here.weights()[key] != weights]:
            raise Failed(f"after the resume the weights are others than on the local disk at (rank, step) {sorted(wrong)}")
        if begun := min(step for _, step in job.weights()) - 1:
            if begun > self.resumed or not f.calm and begun != self.resumed:
                raise Failed(f"it went on from step {begun}, and step {self.resumed} was there")
        else:
            raise Failed("it began anew")
        for n in second:
            if torn := n.settle(f.name):
                raise Failed(f"torn at the end: {torn}")
        if self.load(directories[0], here) != steps:
            raise Failed("the newest checkpoint is not the last")
        self.compare_bucket(directories[0])

    def kill(self, job):
        """Kills it after a step of the middle, at a random moment."""
        step = self.chance.randrange(3, self.lab.options.steps - 1)
        job.reaches("trained", step)
        time.sleep(self.chance.uniform(0, 0.2 if self.framework.calm else 0.8))
        job.kill()
        self.killed = job.step("saved")
        self.lab.say(f"killed in step {job.step('trained')}; saved until then: {self.killed}")

    def load(self, directory, here):
        """The step of the newest checkpoint, whose weights are those of a run on the local disk."""
        argv = [sys.executable, "-B", "-m", "frameworklib.jobs." + self.framework.job, "load", directory]
        out = process.run(argv, PATIENCE, environment(self.lab)).out
        told = json.loads(out.strip().splitlines()[-1])
        step, weights, known = told["step"], told["weights"], here.weights()
        wanted = [known.get((rank, step)) for rank in range(self.framework.ranks)]
        if (weights if isinstance(weights, list) else [weights]) != wanted:
            raise Failed(f"step {step} in the bucket has other weights than on the local disk")
        self.lab.say(f"loaded step {step}")
        return step

    def compare_bucket(self, directory):
        """The bucket has what the mount shows, byte for byte, and as many checkpoints as are kept."""
        shown, there = dict(files(directory)), self.lab.objects(self.framework.name)
        if set(shown) != set(there):
            raise Failed(f"only on the mount: {sorted(set(shown) - set(there))}; only in the bucket: {sorted(set(there) - set(shown))}")
        for name, content in shown.items():
            if self.lab.object(f"{self.framework.name}/{name}") != content:
                raise Failed(f"{name} has other bytes in the bucket")
        depth = self.framework.checkpoints.count("/") + 1
        kept = {"/".join(name.split("/")[:depth]) for name in there}
        kept = sorted(name for name in kept if fnmatch.fnmatch(name, self.framework.checkpoints))
        if len(kept) != 2:
            raise Failed(f"two checkpoints are kept, and the bucket has {kept}")
        self.objects, self.bytes = len(there), sum(there.values())


def files(directory):
    """Path and content of all files and links below a directory."""
    for base, dirs, names in os.walk(directory):
        for name in names + [d for d in dirs if os.path.islink(os.path.join(base, d))]:
            path = os.path.join(base, name)
            if os.path.islink(path):
                content = os.readlink(path).encode()
            else:
                with open(path, "rb") as f:
                    content = f.read()
            yield os.path.relpath(path, directory), content
