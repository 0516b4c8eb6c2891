"""The table that scripts/frameworks prints last."""

import importlib.metadata
import platform

from benchlib import gateway, machine
from frameworklib.lab import ROOT


def version(package):
    if package == "torch":
        import torch

        return "torch " + torch.__version__
    return f"{package} {importlib.metadata.version(package)}"


def markdown(options, lives):
    out = [f"`scripts/frameworks --steps {options.steps} --seed {options.seed}` on {machine.cpu_model()}, Python {platform.python_version()}, "
           f"trainfs {machine.git_version(ROOT)}, versitygw {gateway.VERSION}.", "",
           "| what | versions | killed | saved until then | resumed from | torn by the kill | at the end in the bucket | held |",
           "|---|---|---|---|---|---|---|---|"]
    for one in lives:
        f = one.framework
        if one.bytes is None:
            end = ""
        else:
            end = f"2 checkpoints, {one.objects} objects, {one.bytes / (1 << 20):.1f} MiB"
        out.append(" | ".join((
            f"| {f.what}", ", ".join(map(version, f.packages.split())), "between two saves" if f.calm else "at any moment",
            number(one.killed), number(one.resumed), "" if one.torn is None else str(len(one.torn)), end,
            f"FAILED: {one.failed}" if one.failed else "weights equal at every step", "")).rstrip())
    held = sum(not one.failed for one in lives)
    return "\n".join(out) + f"\n\n{held} of {len(lives)} held"


def number(step):
    return "" if step is None else f"step {step}"
