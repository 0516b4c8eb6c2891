"""Training jobs of real libraries, as a user would write them. They know nothing of trainfs.

Each is a program: python -m frameworklib.jobs.NAME train DIR NOTES STEPS saves a checkpoint a
step below DIR, keeps two, and resumes from the newest that it finds there; load DIR reads the
newest. What happened goes to NOTES, a line of JSON an event.
"""

import hashlib
import json
import os
import sys
import time


def digest(arrays):
    """A name for weights: {name: array of numpy, or what becomes one}."""
    import numpy

    h = hashlib.sha256()
    for name in sorted(arrays):
        a = numpy.ascontiguousarray(numpy.asarray(arrays[name], dtype=numpy.float64))
        h.update(f"{name} {a.shape}\n".encode())
        h.update(a.tobytes())
    return h.hexdigest()[:16]


def torch_digest(state):
    return digest({name: value.detach().numpy() for name, value in state.items() if value.is_floating_point()})


class Notes:
    def __init__(self, path):
        self.path = path

    def add(self, event, **more):
        with open(self.path, "a") as f:
            f.write(json.dumps({"event": event, "pid": os.getpid(), **more}) + "\n")


def main(train, load):
    """The command line of a job. load returns step and digest of the newest checkpoint."""
    if sys.argv[1] == "load":
        step, weights = load(sys.argv[2])
        print(json.dumps({"step": step, "weights": weights}))
        return
    directory, notes, steps = sys.argv[2], Notes(sys.argv[3]), int(sys.argv[4])
    os.makedirs(directory, exist_ok=True)
    train(directory, notes, steps)
    notes.add("finished")


def pause():
    """What a step takes beside saving; long enough that a kill can come at any part of it."""
    time.sleep(0.3)
