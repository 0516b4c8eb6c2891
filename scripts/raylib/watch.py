"""The raw bucket at every moment of a run."""

import re
import threading

from benchlib import BenchError
from raylib import Failed
from raylib.bucket import SNAPSHOT, Run


class Watch:
    """Looks at the bucket until the end of the with block: no tracker names what is not whole."""

    def __init__(self, gateway, bucket, prefix, version=2):
        self.run, self.version = Run(gateway, bucket, prefix), version
        self.violations, self.errors, self.looks, self.seen = [], [], 0, []
        self.whole = set()  # checkpoints that have been seen whole
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.end()
        if kind is None:
            self.check()

    def end(self):
        self.stop.set()
        self.thread.join(30)

    def loop(self):
        look = self.look if self.version == 2 else self.look_v1
        while not self.stop.wait(0.03):
            try:
                look()
            except (BenchError, OSError, ValueError) as err:
                self.errors.append(repr(err))

    def look(self):
        """What the snapshot names is whole for as long as the snapshot names it."""
        content, named = self.run.snapshot()
        if content == b"":
            self.violations.append("the snapshot is empty")
        if not content:
            return
        # Its content is compared as well when a checkpoint is named for the first time.
        wrong = [w for name in named for w in self.run.missing(name, content=name not in self.whole)]
        if not wrong:
            self.whole.update(named)
        elif self.run.get(SNAPSHOT) == content:  # else what it named may have been deleted since
            self.violations.append(f"the snapshot names {named}: {wrong}")
        self.saw(named)

    def look_v1(self):
        """What the experiment state names was whole when it was named: Tune deletes it before it
        writes the next state."""
        states = {key: self.run.get(key) for key in self.run.list("experiment_state-")}
        there = sorted({"/".join(key.split("/")[:2]) for key in self.run.list() if NUMBERED.search(key)})
        self.whole.update(path for path in there if path not in self.whole and not self.run.missing(path))
        whole = {path.rpartition("/")[2] for path in self.whole}
        for key, content in states.items():
            named = mentioned(content or b"")
            if missing := [name for name in named if name not in whole]:
                self.violations.append(f"{key} names {missing}, which was never whole; there are {there}")
            self.saw(named)

    def saw(self, named):
        self.looks += 1
        if not self.seen or self.seen[-1] != named:
            self.seen.append(named)

    def check(self):
        if self.violations:
            raise Failed(f"{len(self.violations)} looks found the bucket inconsistent, the first: {self.violations[0]}")
        if self.looks < 5 or not any(self.seen) or len(self.errors) > self.looks:
            raise Failed(f"the watcher has hardly seen anything: {self.looks} looks, {self.seen}, errors {self.errors[-3:]}")


NUMBERED = re.compile("checkpoint_[0-9]{6}")  # a checkpoint of Train V1


def mentioned(state):
    """Names of checkpoints in Tune's experiment state, which has JSON in JSON in which pickles are written as hexadecimal."""
    text = state.decode()
    pickles = (bytes.fromhex(digits[: len(digits) & ~1]).decode("latin-1") for digits in re.findall("[0-9a-f]{128,}", text))
    return sorted({name for part in (text, *pickles) for name in NUMBERED.findall(part)})
