"""A loop of one's own with accelerate: save_state with automatic names and a total limit."""

import os

import accelerate
import torch

from frameworklib import jobs


def prepare(directory):
    torch.set_num_threads(1)
    torch.manual_seed(7)
    accelerator = accelerate.Accelerator(cpu=True, project_config=accelerate.utils.ProjectConfiguration(
        project_dir=directory, automatic_checkpoint_naming=True, total_limit=2))
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
    return accelerator, *accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))


def newest(directory):
    """The number of the newest checkpoint, 0 if there is none."""
    base = os.path.join(directory, "checkpoints")
    names = os.listdir(base) if os.path.isdir(base) else []
    return max((int(name.rpartition("_")[2]) for name in names), default=-1)


def train(directory, notes, steps):
    accelerator, model, optimizer = prepare(directory)
    first = newest(directory) + 1
    if first:
        accelerator.load_state(os.path.join(directory, "checkpoints", f"checkpoint_{first - 1}"))
        accelerator.project_configuration.iteration = first
    notes.add("started", step=first)
    for step in range(first + 1, steps + 1):  # checkpoint_<step - 1> is written at the end of it
        torch.manual_seed(step)
        optimizer.zero_grad()
        accelerator.backward((model(torch.randn(8, 256)) ** 2).mean())
        optimizer.step()
        notes.add("trained", step=step, weights=jobs.torch_digest(model.state_dict()))
        jobs.pause()
        accelerator.save_state()
        notes.add("saved", step=step)


def load(directory):
    accelerator, model, _ = prepare(directory)
    last = newest(directory)
    accelerator.load_state(os.path.join(directory, "checkpoints", f"checkpoint_{last}"))
    return last + 1, jobs.torch_digest(model.state_dict())


if __name__ == "__main__":
    jobs.main(train, load)
