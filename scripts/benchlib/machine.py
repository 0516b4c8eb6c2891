"""What this machine is, and which versions of the tools it has."""

import os
import platform
import re
import time

from benchlib import process


def mount_of(path):
    """(device, mount point, type) of the file system that path lies on."""
    path, best = os.path.realpath(path), ("?", "", "?")
    with open("/proc/self/mounts") as f:
        for line in f:
            device, point, kind = line.split()[:3]
            point = point.encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[1]):
                best = (device, point, kind)
    return best


def is_mounted(path):
    """Whether something is mounted at path; asks the kernel's table, never the file system."""
    with open("/proc/self/mounts") as f:
        return any(line.split()[1].encode().decode("unicode_escape") == path for line in f)


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.machine()


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write_and_forget(path, size):
    """Writes a file over, to the disk, and drops it from the page cache: that many bytes of
    memory are now free, and have been in use a moment ago."""
    block = b"x" * (1 << 20)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(0, size, len(block)):
            os.write(fd, block)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def first_version(argv):
    """The first thing in a program's --version that looks like a version."""
    found = re.search(r"v?\d+\.\d+[\w.\-+]*", process.run(argv, 30).out)
    return found.group() if found else "?"


def load():
    """How many processes wanted a CPU, on average over the last minute."""
    return os.getloadavg()[0]


def describe(root, tools, directory):
    """Facts for the report."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": cpu_model(), "cpus": len(os.sched_getaffinity(0)), "memory_bytes": memory_bytes(),
        "kernel": platform.release(), "file_system": mount_of(directory)[2],
        "trainfs": git_version(root),
        "go": process.run(["go", "env", "GOVERSION"], 30, cwd=root).out.strip(),
        "rclone": first_version([tools["rclone"], "version"]),
        "s3fs": first_version([tools["s3fs"], "--version"]),
    }


def git_version(root):
    try:
        return process.run(["git", "-C", root, "describe", "--tags", "--always", "--dirty"], 30).out.strip()
    except Exception:
        return "dev"
