"""Orbax's CheckpointManager, asynchronous as it comes: a temporary directory, renamed."""

import os

import jax
import orbax.checkpoint as ocp

from frameworklib import jobs

jax.config.update("jax_platforms", "cpu")


def flat(state):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}


def first_state():
    key = jax.random.PRNGKey(7)
    return {"w": jax.random.normal(key, (512, 512)), "b": {"bias": jax.numpy.zeros((512,))}}


def step_of(state, step):
    x = jax.random.normal(jax.random.PRNGKey(step), (8, 512))
    grads = jax.grad(lambda s: ((x @ s["w"] + s["b"]["bias"]) ** 2).mean())(state)
    return jax.tree_util.tree_map(lambda p, g: p - 0.01 * g, state, grads)


def manager(directory):
    return ocp.CheckpointManager(os.path.abspath(os.path.join(directory, "checkpoints")),
                                 options=ocp.CheckpointManagerOptions(max_to_keep=2, create=True))


def train(directory, notes, steps):
    saver, state = manager(directory), first_state()
    first = saver.latest_step() or 0
    if first:
        state = saver.restore(first, args=ocp.args.StandardRestore(state))
    notes.add("started", step=first)
    for step in range(first + 1, steps + 1):
        state = step_of(state, step)
        notes.add("trained", step=step, weights=jobs.digest(flat(state)))
        saver.save(step, args=ocp.args.StandardSave(state))  # goes on in the background
        jobs.pause()
        saver.wait_until_finished()
        notes.add("saved", step=step)
    saver.close()


def load(directory):
    saver = manager(directory)
    step = saver.latest_step()
    return step, jobs.digest(flat(saver.restore(step, args=ocp.args.StandardRestore(first_state()))))


if __name__ == "__main__":
    jobs.main(train, load)
