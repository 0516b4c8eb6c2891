"""File workloads of a training job against one directory. Run as a program:

  workload.py save  DIR --files 4 --size 268435456 --block 1048576 --threads 2
  workload.py read  DIR --block 1048576 --threads 2

save makes DIR and writes that many files of that size, from open to close, without fsync:
what a returned close costs a job is the figure. read reads every file in DIR to its end.
Both print one JSON line: seconds, files, bytes. The interpreter's start is not counted.
"""

import argparse
import json
import os
import queue
import threading
import time


def file_name(i):
    """Name of the i-th file that save writes."""
    return f"part-{i:05d}.bin"


def write_file(path, size, block):
    """Writes size bytes, of which no two files have the same; block is what one write takes."""
    data = memoryview(os.urandom(min(block, size)))
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        left = size
        while left >= len(data) > 0:
            left -= os.write(fd, data)
        while left:
            left -= os.write(fd, data[:left])
    finally:
        os.close(fd)
    return size


def read_file(path, block):
    """Reads a file to its end; returns how many bytes that were."""
    buffer = bytearray(block)
    fd = os.open(path, os.O_RDONLY)
    try:
        total = 0
        while got := os.readv(fd, [buffer]):
            total += got
        return total
    finally:
        os.close(fd)


def spread(jobs, threads):
    """Runs the jobs on that many threads; returns their results, or raises the first error."""
    waiting, done, failed = queue.SimpleQueue(), [], []
    for job in jobs:
        waiting.put(job)

    def work():
        while not failed:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.append(job())
            except OSError as err:
                failed.append(err)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    if failed:
        raise failed[0]
    return done


def main():
    args = argparse.ArgumentParser()
    args.add_argument("what", choices=["save", "read"])
    args.add_argument("dir")
    args.add_argument("--files", type=int, default=0)
    args.add_argument("--size", type=int, default=0)
    args.add_argument("--block", type=int, required=True)
    args.add_argument("--threads", type=int, default=1)
    a = args.parse_args()

    start = time.monotonic()
    if a.what == "save":
        os.makedirs(a.dir, exist_ok=True)
        paths = [os.path.join(a.dir, file_name(i)) for i in range(a.files)]
        sizes = spread([lambda p=p: write_file(p, a.size, a.block) for p in paths], a.threads)
    else:
        paths = [e.path for e in os.scandir(a.dir)]
        sizes = spread([lambda p=p: read_file(p, a.block) for p in sorted(paths)], a.threads)
    seconds = time.monotonic() - start
    print(json.dumps({"seconds": seconds, "files": len(sizes), "bytes": sum(sizes)}))


if __name__ == "__main__":
    try:
        main()
    except OSError as err:
        raise SystemExit(str(err))
