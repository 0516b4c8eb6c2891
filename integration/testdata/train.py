"""A small training job, as people write them.

    train.py train DIR EPOCHS    one checkpoint directory an epoch, and a log kept open
    train.py compare A B         exits 0 if two checkpoint directories hold equal tensors
"""

import json
import os
import sys

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(256, 1024), torch.nn.ReLU(),
            torch.nn.Linear(1024, 1024), torch.nn.ReLU(),
            torch.nn.Linear(1024, 1),
        )

    def forward(self, x):
        return self.layers(x)


def train(directory, epochs):
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.randn(64, 256)
    y = x.sum(dim=1, keepdim=True)
    os.makedirs(directory, exist_ok=True)
    log = open(os.path.join(directory, "train.log"), "a")
    for epoch in range(1, epochs + 1):
        for _ in range(3):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
        save(os.path.join(directory, "checkpoint_%06d" % epoch), net, optimizer, epoch)
        log.write("epoch %d loss %.6f\n" % (epoch, loss.item()))
        log.flush()
    print("trained", flush=True)
    sys.stdin.read()  # the log stays open until whoever started this is done
    log.close()


def save(directory, net, optimizer, epoch):
    os.mkdir(directory)
    torch.save(net.state_dict(), os.path.join(directory, "model.pt"))
    torch.save(optimizer.state_dict(), os.path.join(directory, "optimizer.pt"))
    torch.save(torch.get_rng_state(), os.path.join(directory, "rng.pt"))
    with open(os.path.join(directory, "meta.json"), "w") as f:
        json.dump({"epoch": epoch}, f)


def compare(a, b):
    for name in ("model.pt", "optimizer.pt", "rng.pt"):
        one, two = (torch.load(os.path.join(d, name)) for d in (a, b))
        if not equal(one, two):
            sys.exit("%s differs" % name)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(sys.argv[2], int(sys.argv[3]))
    else:
        compare(sys.argv[2], sys.argv[3])
