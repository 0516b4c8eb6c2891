"""Children that never outlive the benchmark, and cleaning up in the right order.

Every child is the leader of a session of its own: Ctrl-C reaches the benchmark alone, which
then takes things down in the reverse order of their start. Should the benchmark be killed,
the kernel signals the children that it started as daemons.
"""

import ctypes
import os
import signal
import subprocess
import time

from benchlib import BenchError, TimedOut

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Cleanup:
    """What is to be undone at the end, last first. An undo may be called twice."""

    def __init__(self):
        self.undos = []

    def add(self, undo):
        """Registers undo; returns a function that does it now, and so not at the end."""
        self.undos.append(undo)

        def now():
            undo()
            if undo in self.undos:
                self.undos.remove(undo)

        return now

    def run(self, say):
        """Undoes everything. No signal stops it, nor does an error."""
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        while self.undos:
            undo = self.undos.pop()
            try:
                undo()
            except Exception as err:  # the others still have to go
                say(f"cleaning up: {err}")


def signals_end_it():
    """Makes SIGINT, SIGTERM and SIGHUP end the program through its finally clauses."""

    def stop(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & makes it ignored
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)


def daemon(argv, log, env, end_signal=signal.SIGTERM):
    """Starts a server; its output goes to the file log. end_signal is what it gets should we die."""
    ours = os.getpid()

    def tie():
        libc.prctl(PR_SET_PDEATHSIG, int(end_signal))
        if os.getppid() != ours:
            os._exit(1)

    with open(log, "ab") as out:
        return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                start_new_session=True, preexec_fn=tie)


def end(child, patience=15):
    """Ends a child: asks, then kills it and what it started."""
    for s in (None, signal.SIGTERM, signal.SIGKILL):
        if s is not None and child.poll() is None:
            try:
                os.killpg(child.pid, s)
            except ProcessLookupError:
                pass
        try:
            child.wait(0.2 if s is None else patience)
            return
        except subprocess.TimeoutExpired:
            continue
    raise BenchError(f"process {child.pid} ({child.args[0]}) does not die")


class Finished:
    """A command that exited with 0: its output, seconds on the clock, seconds of CPU."""

    def __init__(self, out, seconds, cpu):
        self.out, self.seconds, self.cpu = out, seconds, cpu


def run(argv, timeout, env=None, cwd=None):
    """Runs a command to its end. TimedOut after timeout seconds, BenchError if it fails."""
    argv = [str(a) for a in argv]
    what = " ".join(argv[:3])
    start = time.monotonic()
    child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, start_new_session=True, text=True)
    before = os_children_cpu()
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"timed out after {timeout:.0f} s: {what}") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            try:
                child.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                pass  # it hangs in the kernel; taking its mount away frees it
    seconds = time.monotonic() - start
    if child.returncode != 0:
        tail = (err or out).strip().splitlines()[-3:]
        raise BenchError(f"{what}: exit code {child.returncode}: {' / '.join(tail)}")
    return Finished(out, seconds, os_children_cpu() - before)


def os_children_cpu():
    """CPU seconds, user and system, of all children that were waited for, and of theirs."""
    t = os.times()
    return t.children_user + t.children_system


def cpu_of(pid):
    """CPU seconds, user and system, of a running process and of its children that are gone."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()  # fields[0] is the third: state
    return sum(int(t) for t in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def peak_memory_of(pid):
    """The most memory, in bytes, that a process ever had resident (VmHWM)."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    raise BenchError(f"no VmHWM of process {pid}")


def until(condition, timeout, what, every=0.05):
    """Polls until condition() is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(f"timed out after {timeout:.0f} s: {what}")
        time.sleep(every)
