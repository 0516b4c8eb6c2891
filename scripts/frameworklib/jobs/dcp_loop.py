"""torch.distributed.checkpoint with gloo: all ranks write into one directory, .metadata last.

RANK, WORLD_SIZE and RENDEZVOUS (a file all ranks see) come from the environment; alone without them.
Weights are sharded over the ranks by rows, as FSDP would.
"""

import os
import re
import shutil

import torch
import torch.distributed as dist

from frameworklib import jobs
from frameworklib.jobs.debian_torch import dcp

from torch.distributed._shard.checkpoint.default_planner import DefaultSavePlanner, create_default_local_save_plan  # after dcp

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def saved(directory):
    """Steps with .metadata, which is what says that a checkpoint is complete."""
    names = [re.match(r"step-(\d+)$", name) for name in os.listdir(directory)]
    return sorted(int(m.group(1)) for m in names if m and os.path.exists(os.path.join(directory, m.group(0), ".metadata")))


def first_state():
    torch.manual_seed(7)
    return {f"layer{i}.rank{r}": torch.randn(128, 256) for r in range(RANKS) for i in range(3)}


def mine(state):
    """What this rank keeps, and the step, which rank 0 keeps."""
    return {name: value for name, value in state.items() if name.endswith(f"rank{RANK}")}


def checkpoint_ids(directory, step):
    return os.path.join(directory, f"step-{step}")


class Planner(DefaultSavePlanner):
    """Every rank writes what it has, as with ShardedTensor; of plain tensors only the first would."""

    def create_local_plan(self):
        self.plan = create_default_local_save_plan(self.state_dict, True)
        return self.plan


def read(directory, step, state):
    dcp.load_state_dict(state, dcp.FileSystemReader(checkpoint_ids(directory, step)), no_dist=RANKS == 1)
    return state


def train(directory, notes, steps):
    torch.set_num_threads(1)
    if RANKS > 1:
        dist.init_process_group("gloo", init_method="file://" + os.environ["RENDEZVOUS"], rank=RANK, world_size=RANKS)
    found = [saved(directory)[-1:] if RANK == 0 else None]
    if RANKS > 1:
        dist.broadcast_object_list(found)
    first, state = (found[0] or [0])[0], mine(first_state())
    if first:
        state = read(directory, first, state)
    notes.add("started", rank=RANK, step=first)
    for step in range(first + 1, steps + 1):
        torch.manual_seed(step)
        state = {name: value + torch.randn(value.shape) for name, value in state.items()}
        notes.add("trained", rank=RANK, step=step, weights=jobs.torch_digest(state))
        jobs.pause()
        os.makedirs(checkpoint_ids(directory, step), exist_ok=True)  # as later versions do on every rank; 1.13 only on the first
        dcp.save_state_dict(state, dcp.FileSystemWriter(checkpoint_ids(directory, step)), no_dist=RANKS == 1, planner=Planner())
        if RANKS > 1:
            dist.barrier()
        if RANK == 0:
            notes.add("saved", step=step)
            for old in saved(directory)[:-2]:  # as torchtitan's keep_latest_k
                shutil.rmtree(checkpoint_ids(directory, old))


def load(directory):
    """In one process: the ranks' parts, as their digests."""
    step = saved(directory)[-1]
    known = dcp.FileSystemReader(checkpoint_ids(directory, step)).read_metadata().state_dict_metadata
    state = {name: torch.empty(entry.size) for name, entry in known.items()}
    dcp.load_state_dict(state, dcp.FileSystemReader(checkpoint_ids(directory, step)), no_dist=True)
    ranks = sorted({name.rpartition("rank")[2] for name in state})
    return step, [jobs.torch_digest({n: v for n, v in state.items() if n.endswith("rank" + r)}) for r in ranks]


if __name__ == "__main__":
    jobs.main(train, load)
