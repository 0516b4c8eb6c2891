"""Debian's PyTorch 1.13, made usable with Debian's Python 3.11; import it before anything else
that wants torch.distributed's checkpoints, as Lightning does.

Its dataclasses have instances of dataclasses as defaults, which Python 3.11 refuses unless they
can be hashed.
"""

import dataclasses

import torch

torch._UntypedStorage = torch.UntypedStorage  # Lightning takes 1.13.0a0 for something older
plain = dataclasses.dataclass


def hashable(cls=None, **options):
    """dataclass, whose classes can be hashed."""
    if cls is None:
        return lambda cls: hashable(cls, **options)
    if "__hash__" not in vars(cls):
        options["unsafe_hash"] = True
    return plain(cls, **options)


dataclasses.dataclass = hashable
try:
    import torch.distributed._shard.checkpoint as dcp  # noqa: F401
finally:
    dataclasses.dataclass = plain
