"""A loop of one's own that keeps its weights with safetensors: one file a step."""

import os
import re

import numpy
import safetensors.numpy

from frameworklib import jobs


def saved(directory):
    """{step: path}."""
    found = {int(m.group(1)): os.path.join(directory, m.group(0)) for m in map(re.compile(r"step-(\d+)\.safetensors$").match, os.listdir(directory)) if m}
    return dict(sorted(found.items()))


def train(directory, notes, steps):
    state, first = {"w": numpy.random.default_rng(7).normal(size=(512, 512)), "b": numpy.zeros(512)}, 0
    if saved(directory):
        first, path = list(saved(directory).items())[-1]
        state = safetensors.numpy.load_file(path)
    notes.add("started", step=first)
    for step in range(first + 1, steps + 1):
        state = {name: a + numpy.random.default_rng(step).normal(size=a.shape) for name, a in state.items()}
        notes.add("trained", step=step, weights=jobs.digest(state))
        jobs.pause()
        safetensors.numpy.save_file(state, os.path.join(directory, f"step-{step}.safetensors"))
        notes.add("saved", step=step)
        for path in list(saved(directory).values())[:-2]:
            os.remove(path)


def load(directory):
    step, path = list(saved(directory).items())[-1]
    return step, jobs.digest(safetensors.numpy.load_file(path))


if __name__ == "__main__":
    jobs.main(train, load)
