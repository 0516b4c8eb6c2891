"""A training job for Ray Train that knows nothing of trainfs: python job.py CONFIG.json

Weights are a function of the epoch alone, however often the job was interrupted. Every rank
puts several files into each checkpoint, and files.json with their sizes and checksums last.
What happens is noted, a line of JSON each, in a file outside of the storage path.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import time

import ray
import ray.train
import ray.train.torch
import torch


def note(config, event, **what):
    line = json.dumps({"event": event, "time": time.time(), **what}) + "\n"
    fd = os.open(config["notes"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, line.encode())
    os.close(fd)


def digest(state):
    h = hashlib.sha256()
    for name in sorted(state):
        h.update(name.encode() + state[name].detach().numpy().tobytes())
    return h.hexdigest()


def save(config, directory, rank, epoch, model, optimizer):
    mine = os.path.join(directory, f"rank{rank}")
    os.makedirs(mine, exist_ok=True)
    ballast = (f"{rank} {epoch} ".encode() * (1 << 18))[: 1 << 20]
    contents = {}
    for name, state in {"model.pt": model.module.state_dict(), "optimizer.pt": optimizer.state_dict()}.items():
        buffer = io.BytesIO()
        torch.save({"epoch": epoch, "state": state}, buffer)
        contents[name] = [buffer.getvalue()]
    contents["ballast.bin"] = [ballast] * config["mib"]
    listed = {}
    for name, blocks in contents.items():
        h = hashlib.sha256()
        with open(os.path.join(mine, name), "wb") as f:
            for block in blocks:
                f.write(block)
                h.update(block)
        listed[name] = [sum(map(len, blocks)), h.hexdigest()]
    with open(os.path.join(mine, "files.json"), "w") as f:
        json.dump({"epoch": epoch, "files": listed}, f)


def load(directory, ranks):
    """The model's and the optimizer's state; every file of every rank is compared first."""
    epochs = set()
    for rank in range(ranks):
        mine = os.path.join(directory, f"rank{rank}")
        with open(os.path.join(mine, "files.json")) as f:
            listed = json.load(f)
        epochs.add(listed["epoch"])
        for name, (size, sha) in listed["files"].items():
            h = hashlib.sha256()
            with open(os.path.join(mine, name), "rb") as f:
                while block := f.read(1 << 20):
                    h.update(block)
            if h.hexdigest() != sha or os.path.getsize(os.path.join(mine, name)) != size:
                raise RuntimeError(f"{mine}/{name} is not what was saved")
    if len(epochs) != 1:
        raise RuntimeError(f"{directory} has files of the epochs {epochs}")
    model, optimizer = (torch.load(os.path.join(directory, "rank0", name)) for name in ("model.pt", "optimizer.pt"))
    return model["epoch"], model["state"], optimizer["state"]


def train_loop(config):
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = ray.train.torch.prepare_model(torch.nn.Linear(64, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    first, restored = 0, ray.train.get_checkpoint()
    if restored:
        with restored.as_directory() as directory:
            epoch, weights, moments = load(directory, ranks)
        model.module.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        first = epoch + 1
    note(config, "started", rank=rank, first=first, weights=digest(model.module.state_dict()),
         node=ray.util.get_node_ip_address(), pid=os.getpid(), checkpoint=restored.path if restored else None)
    board = None
    if config.get("board") and rank == 0:
        from tensorboardX import SummaryWriter

        board = SummaryWriter(os.path.join(config["board"], "tb"), flush_secs=1)
    for epoch in range(first, config["epochs"]):
        torch.manual_seed(1000 * epoch + rank)
        for _ in range(5):
            optimizer.zero_grad()
            loss = ((model(torch.randn(8, 64)) - 1) ** 2).mean()
            loss.backward()
            optimizer.step()
        weights = digest(model.module.state_dict())
        if rank == 0:
            note(config, "trained", epoch=epoch, weights=weights)
        if board:
            board.add_scalar("loss", loss.item(), epoch)
            board.flush()
        if config.get("artifacts"):  # Train V1 starts in the trial's working directory
            with open(f"artifact-{rank}.txt", "a") as f:
                f.write(f"epoch {epoch}\n")
        time.sleep(config.get("pause", 0))
        report(config, rank, epoch, model, optimizer)
    if board:
        board.close()


def report(config, rank, epoch, model, optimizer):
    mode, more = config.get("mode", "SYNC"), {}
    if config["version"] == 2:
        from ray.train import CheckpointUploadMode

        more["checkpoint_upload_mode"] = CheckpointUploadMode[mode]
    if mode == "NO_UPLOAD":  # straight into the storage path
        directory = os.path.join(config["storage"], config["name"], f"checkpoint_{epoch:06d}")
    else:
        directory = tempfile.mkdtemp(prefix="checkpoint-")
    save(config, directory, rank, epoch, model, optimizer)
    start = time.monotonic()
    ray.train.report({"epoch": epoch}, checkpoint=ray.train.Checkpoint.from_directory(directory), **more)
    note(config, "reported", rank=rank, epoch=epoch, seconds=time.monotonic() - start)
    if mode == "SYNC":
        import shutil

        shutil.rmtree(directory)


def trainer(config):
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    more, scaling = {}, {}
    if config["version"] == 1:
        from ray.train import SyncConfig

        more["sync_config"] = SyncConfig(sync_artifacts=True, sync_period=2)
        scaling["trainer_resources"] = {"CPU": 0}
        path = os.path.join(config["storage"], config["name"])
        if TorchTrainer.can_restore(path):
            return TorchTrainer.restore(path, train_loop_per_worker=train_loop, train_loop_config=config)
    if not config.get("from_environment"):
        more["storage_path"] = config["storage"]
    return TorchTrainer(
        train_loop, train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1},
                                     placement_strategy="STRICT_SPREAD", **scaling),
        run_config=RunConfig(name=config["name"], checkpoint_config=CheckpointConfig(num_to_keep=2),
                             failure_config=FailureConfig(max_failures=config.get("failures", 0)), **more))


def main():
    with open(sys.argv[1]) as f:
        config = json.load(f)
    ray.init(address=config["cluster"], _node_ip_address=config["head"], log_to_driver=True)
    result = trainer(config).fit()
    if result.error:
        raise result.error
    note(config, "finished", checkpoint=result.checkpoint.path, metrics=result.metrics["epoch"])


if __name__ == "__main__":
    main()
