"""The workloads and their goals. Each is a function that takes the Bench, and returns
(rows, notes); its docstring's first line is its title in the report, with the sizes put in.
None of them deletes anything: see bench.settle."""

import os
import statistics
import time

from benchlib import BenchError, process
from benchlib.contestants import LOCAL, LOOPBACK, RCLONE, S3FS, TRAINFS, Contestant, Loopback, RcloneMount, S3fs, Trainfs
from benchlib.measure import Row, rounds
from benchlib.workload import file_name

MIB = 1 << 20
GIB = 1 << 30
PEERS = (RCLONE, S3FS)


class Sizes:
    """How much is written. The quick ones only show that everything works."""

    def __init__(self, quick):
        self.files, self.file = 4, (4 * MIB if quick else 256 * MIB)
        self.tiny_writes = 1 * MIB if quick else 64 * MIB
        self.small_files = 60 if quick else 2000
        self.memory_files = 4 if quick else 16
        self.total = self.files * self.file
        self.warm = 3 * self.total  # page cache to be warm before a run that writes it all: here, in a cache, in the store
        self.warm_little = 16 * MIB if quick else 512 * MIB

    def text(self):
        mib = lambda n: f"{n // MIB} MiB" if n < GIB or n % GIB else f"{n // GIB} GiB"
        return {"files": self.files, "file": mib(self.file), "total": mib(self.files * self.file),
                "tiny": mib(self.tiny_writes), "small": f"{self.small_files:,}",
                "memory": mib(self.memory_files * self.file)}


def sizes_of(count, size):
    return {file_name(i): size for i in range(count)}


def started(*contestants):
    for c in contestants:
        c.start()
    return contestants


def stop(contestants):
    for c in contestants:
        c.stop()


def save_everywhere(bench, count, size, block, threads, warm, more=1):
    """Saves into local, trainfs and the peers; what was written is durable before the next."""
    field = started(Contestant(bench), Trainfs(bench), RcloneMount(bench), S3fs(bench))

    def once(c, r):
        name = f"checkpoint_{r:06d}"
        took = bench.save(c.path(name), count, size, block, threads)
        c.drain(name, sizes_of(count, size))
        return {"seconds": took}

    samples = rounds(bench, field, once, bench.rounds * more, warm)
    stop(field)
    return samples


def against_local(samples, goal):
    rows = [Row(samples, LOCAL, "seconds", "s"),
            Row(samples, TRAINFS, "seconds", "s", LOCAL, goal)]
    return rows + [Row(samples, p, "seconds", "s", LOCAL) for p in PEERS]


def save(bench):
    """save: {files} files of {file}, 1 MiB writes, 2 threads"""
    samples = save_everywhere(bench, bench.sizes.files, bench.sizes.file, MIB, 2, bench.sizes.warm, more=2)
    return against_local(samples, ("<=", 1.10)), [
        "Time from the first open to the last close, without fsync. Uploads begin while it runs; "
        "the next run starts when they are done and the disk is synced. Twice the rounds: one run takes a fraction of a second."]


def tiny_writes(bench):
    """{tiny} in 4 KiB writes to one file"""
    samples = save_everywhere(bench, 1, bench.sizes.tiny_writes, 4096, 1, bench.sizes.warm_little, more=2)
    return against_local(samples, ("<=", 1.25)), ["Twice the rounds: one run takes a fraction of a second."]


def small_files(bench):
    """{small} files of 4 KiB, 4 threads"""
    count = bench.sizes.small_files
    field = started(Contestant(bench), Loopback(bench), Trainfs(bench), RcloneMount(bench), S3fs(bench))

    def once(c, r):
        name = f"artifacts_{r:06d}"
        took = bench.save(c.path(name), count, 4096, 4096, 4)
        c.drain(name, sizes_of(count, 4096))
        return {"rate": count / took}

    samples = rounds(bench, field, once, bench.rounds, bench.sizes.warm_little)
    stop(field)
    rows = [Row(samples, LOOPBACK, "rate", "files/s"),
            Row(samples, TRAINFS, "rate", "files/s", LOOPBACK, (">=", 0.8))]
    rows += [Row(samples, p, "rate", "files/s", LOOPBACK) for p in PEERS]
    rows += [Row(samples, LOCAL, "rate", "files/s", LOOPBACK)]
    rows += [Row(samples, TRAINFS, "rate", "files/s", p, (">", 1.0)) for p in PEERS]
    return rows, ["Create, one write, close. The loopback is mounted as trainfs is (passthrough, CAP_HANDLE_KILLPRIV_V2, "
                  "allow_other, default_permissions), and has no store."]


COPY, COMMITTED = "local write, then rclone copy", "trainfs, then trainfs commit"


class CopiedLater(Contestant):
    """Written to the local disk, then sent to the store with rclone copy."""

    name = COPY


class TrainfsCommitted(Trainfs):
    """trainfs, told right after the last close that the checkpoint is complete."""

    name = COMMITTED


def durable(bench):
    """durable: {files} files of {file} from the first write until all are in the store"""
    count, size = bench.sizes.files, bench.sizes.file
    copied, default, committed = field = started(CopiedLater(bench), Trainfs(bench), TrainfsCommitted(bench))
    bench.gateway.make_bucket(copied.bucket)
    expected, gib = sizes_of(count, size), count * size / GIB

    def copy(name):
        took = bench.save(copied.path(name), count, size, MIB, 2)
        sent = bench.run([bench.tools["rclone"], "copy", copied.path(name), f"bench:{copied.bucket}/{name}"], bench.rclone_env())
        found = bench.gateway.list(copied.bucket, name + "/")
        if found != {f"{name}/{f}": s for f, s in expected.items()}:
            raise BenchError(f"rclone copy left {found} in the store")
        return {"seconds": took + sent.seconds, "cpu": sent.cpu / gib}

    def through(c, name):
        cpu = process.cpu_of(c.pid())
        took = bench.save(c.path(name), count, size, MIB, 2)
        closed = time.monotonic()
        if c is committed:
            c.do("commit", "--quiet", c.path(name))
        c.await_listed(name, expected)
        listed = time.monotonic()
        c.do("wait", "--quiet", c.root)
        cpu = process.cpu_of(c.pid()) - cpu
        return {"seconds": took + listed - closed, "cpu": cpu / gib}

    def once(c, r):
        name = f"checkpoint_{r:06d}"
        return copy(name) if c is copied else through(c, name)

    samples = rounds(bench, field, once, bench.rounds, bench.sizes.warm)
    stop(field)
    rows = [Row(samples, COPY, "seconds", "s")]
    rows += [Row(samples, t, "seconds", "s", COPY, ("<=", 1.0)) for t in (TRAINFS, COMMITTED)]
    rows += [Row(samples, COPY, "cpu", "CPU s/GiB")]
    rows += [Row(samples, t, "cpu", "CPU s/GiB", COPY, ("<=", 0.5)) for t in (TRAINFS, COMMITTED)]
    return rows, [
        "Durable: ListObjectsV2 shows every object with its size; asked every 50 ms. With its defaults trainfs waits "
        "for `settle` (3 s without a change) before it publishes; `trainfs commit` says that nothing more will come.",
        "CPU: user and system time of the trainfs daemon (writes bypass it) and of the process rclone copy."]


def warm(bench):
    """warm re-read of {files} files of {file}, 1 MiB reads, 2 threads"""
    count, size = bench.sizes.files, bench.sizes.file
    field = started(Contestant(bench), Trainfs(bench), RcloneMount(bench), S3fs(bench))
    name, ready, lost = "checkpoint_000000", [], {}
    for c in field:
        try:
            bench.save(c.path(name), count, size, MIB, 2)
            c.drain(name, sizes_of(count, size))
            bench.read(c.path(name), MIB, 2, count * size)  # not counted
            ready.append(c)
        except BenchError as err:
            if not c.peer:
                raise
            lost[c.name] = str(err)
            c.stop()
    samples = rounds(bench, ready, lambda c, r: {"seconds": statistics.median(
        bench.read(c.path(name), MIB, 2, count * size) for _ in range(5))}, 2 * bench.rounds + 1, 0)
    samples.problems.update(lost)
    stop(field)
    return against_local(samples, ("<=", 1.05)), [
        "Committed files, read once before without counting. Nothing is dropped from the page cache for anyone.",
        "One pass takes a fraction of a second: a figure is the median of five, and there are twice the rounds and one."]


def memory(bench):
    """memory of the daemon while {memory} are uploading"""
    count, size = bench.sizes.memory_files, bench.sizes.file

    def once(c, _r):
        c.start()
        name = "checkpoint_000000"
        bench.save(c.path(name), count, size, MIB, 2)
        c.drain(name, sizes_of(count, size))
        peak = process.peak_memory_of(c.pid())
        c.stop()
        return {"peak": peak / 1e6}

    samples = rounds(bench, [Trainfs(bench)], once, min(3, bench.rounds), 0)
    return [Row(samples, TRAINFS, "peak", "MB", goal=("<", 200))], [
        "VmHWM (MB = 10^6 bytes) of a fresh daemon each time, from its start until all is durable."]


COPY_DOWN = "rclone copy to the local disk"


class CopiedDown(Contestant):
    """A checkpoint fetched with rclone copy before it is read."""

    name = COPY_DOWN


def cold(bench):
    """cold read of a committed checkpoint, {files} files of {file}, 1 MiB reads, 2 threads"""
    count, size = bench.sizes.files, bench.sizes.file
    name = "checkpoint_000000"
    (writer,) = started(Trainfs(bench))
    bench.save(writer.path(name), count, size, MIB, 2)
    writer.drain(name, sizes_of(count, size))

    def once(c, _r):
        c.start(bucket=writer.bucket)
        if c.name == COPY_DOWN:
            took = bench.run([bench.tools["rclone"], "copy", f"bench:{writer.bucket}/{name}", c.path(name)], bench.rclone_env()).seconds
            if bench.read(c.path(name), MIB, 2, count * size) <= 0:
                raise BenchError("nothing was copied")
        else:
            took = bench.read(c.path(name), MIB, 2, count * size)
        c.stop()
        return {"seconds": took}

    field = (CopiedDown(bench), Trainfs(bench), RcloneMount(bench), S3fs(bench))
    samples = rounds(bench, field, once, bench.rounds, bench.sizes.warm)
    stop([*field, writer])
    rows = [Row(samples, COPY_DOWN, "seconds", "s"),
            Row(samples, TRAINFS, "seconds", "s", COPY_DOWN, ("<=", 1.15))]
    rows += [Row(samples, p, "seconds", "s", COPY_DOWN) for p in PEERS]
    rows += [Row(samples, TRAINFS, "seconds", "s", p, ("<", 1.0)) for p in PEERS]
    return rows, ["A fresh mount with an empty cache each time; mounting is not counted, starting rclone copy is. "
                  "The server's own files are in its page cache for everyone: nothing is dropped there."]


def disk_bytes(number, rounds, peer_rounds, sizes):
    """About how much a workload has on the disk at its end: local files, caches, objects."""
    peers, total = 2 * min(peer_rounds, rounds), sizes.total
    small = 4 * (sizes.tiny_writes * 2 * rounds + sizes.small_files * 16384 * rounds)
    return {1: total * (6 * rounds + 2 * peers), 2: small, 3: small, 4: 6 * total * rounds, 5: 7 * total,
            6: 2 * sizes.memory_files * sizes.file * min(3, rounds), 7: total * (2 + 2 * rounds + peers)}[number]


ALL = {1: save, 2: tiny_writes, 3: small_files, 4: durable, 5: warm, 6: memory, 7: cold}


def title(number, sizes):
    return ALL[number].__doc__.strip().splitlines()[0].format(**sizes.text())
