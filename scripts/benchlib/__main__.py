"""The command line of scripts/bench."""

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

from benchlib import BenchError, TimedOut, gateway, machine, process, report, suite

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GIB = 1 << 30
MIB = 1 << 20


class Bench:
    """What the workloads share: the place, the tools, the server, the options."""

    def __init__(self, options, cleanup):
        self.cleanup = cleanup
        self.timeout, self.pause = options.timeout, options.pause
        self.rounds, self.peer_rounds = options.rounds, min(options.peer_rounds, options.rounds)
        self.sizes = suite.Sizes(options.quick)
        self.gateway, self.tools, self.mounts = None, {}, 0
        parent = os.path.abspath(options.dir)
        os.makedirs(parent, exist_ok=True)
        self.work = tempfile.mkdtemp(prefix="trainfs-bench.", dir=parent)
        self.logs = os.path.join(self.work, "logs")
        os.makedirs(self.logs)
        cleanup.add(self.remove_work)

    def remove_work(self):
        with open("/proc/self/mounts") as f:
            left = [line.split()[1] for line in f if line.split()[1].startswith(self.work + "/")]
        if left:
            raise BenchError(f"still mounted, so {self.work} stays: {', '.join(left)}")
        shutil.rmtree(self.work, ignore_errors=True)

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def fresh(self, name):
        """A new directory below the work directory."""
        self.mounts += 1
        path = os.path.join(self.work, f"{name}-{self.mounts}")
        os.makedirs(path)
        return path

    def run(self, argv, env=None):
        """Runs a command within --timeout."""
        return process.run(argv, self.timeout, env or (self.gateway.env() if self.gateway else None))

    def rclone_env(self):
        """rclone's remote bench: is the server; nothing else of rclone is configured."""
        e = self.gateway.env()
        e.update(RCLONE_CONFIG=os.path.join(self.work, "rclone.conf"),
                 RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Other",
                 RCLONE_CONFIG_BENCH_ACCESS_KEY_ID=self.gateway.access,
                 RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY=self.gateway.secret,
                 RCLONE_CONFIG_BENCH_REGION=gateway.REGION,
                 RCLONE_CONFIG_BENCH_ENDPOINT=self.gateway.endpoint)
        return e

    def workload(self, *argv):
        program = os.path.join(ROOT, "scripts", "benchlib", "workload.py")
        try:
            return json.loads(self.run([sys.executable, "-B", "-I", program, *map(str, argv)]).out)
        except TimedOut:
            raise TimedOut(f"timed out after {self.timeout:.0f} s: {argv[0]} {argv[1]}") from None

    def save(self, path, count, size, block, threads):
        """Writes files; returns the seconds from the first open to the last close."""
        done = self.workload("save", path, "--files", count, "--size", size, "--block", block, "--threads", threads)
        return done["seconds"]

    def read(self, path, block, threads, expected):
        """Reads all files of a directory; returns the seconds it took."""
        done = self.workload("read", path, "--block", block, "--threads", threads)
        if done["bytes"] != expected:
            raise BenchError(f"{path}: read {done['bytes']} bytes, not {expected}")
        return done["seconds"]

    def settle(self, warm):
        """Gives every run a quiet disk and warm page cache to begin with.

        A virtual machine with free page reporting hands free memory back to its host within
        seconds, and gets it back fault by fault: several times the cost of the write that
        needs it. So a scratch file has just been written, and its pages are free again, when
        a run begins.

        For the same reason nothing is deleted before the end: for minutes after thousands of
        files were deleted, ext4 walks over their inodes at each create (recently_deleted in
        the kernel's fs/ext4/ialloc.c), and a disk with online discard is slow as well."""
        process.run(["sync"], 900)
        time.sleep(self.pause)
        if warm:
            machine.write_and_forget(os.path.join(self.work, "scratch"), warm)

    def make_room(self):
        """Empties the large files of a workload that has ended. Their inodes stay: see settle."""
        for directory, _, names in os.walk(self.work):
            for name in names:
                path = os.path.join(directory, name)
                st = os.lstat(path)
                if stat.S_ISREG(st.st_mode) and st.st_blocks * 512 >= MIB and directory != self.work:
                    os.truncate(path, 0)
        process.run(["sync"], 900)
        time.sleep(self.pause)

    def prepare(self, options):
        """Builds and finds the tools, starts the server."""
        for tool in ("rclone", "s3fs"):
            found = shutil.which(getattr(options, tool))
            if not found:
                raise BenchError(f"no {tool}: apt-get install {tool}, or say --{tool} PATH")
            self.tools[tool] = found
        self.say("building trainfs and go-fuse's loopback")
        self.tools["trainfs"] = options.trainfs and os.path.abspath(options.trainfs) or self.build("trainfs", "./cmd/trainfs")
        self.tools["loopback"] = self.build("bench-loopback", "scripts/bench-loopback/main.go")
        self.say(f"starting versitygw {gateway.VERSION} (built the first time)")
        self.gateway = gateway.Gateway(os.path.join(self.work, "store"), self.logs, self.cleanup)

    def build(self, name, package):
        out = os.path.join(self.work, name)
        flags = f"-s -w -X main.version={machine.git_version(ROOT)}" if name == "trainfs" else "-s -w"
        process.run(["go", "build", "-trimpath", "-ldflags", flags, "-o", out, package], 900,
                    dict(os.environ, CGO_ENABLED="0"), ROOT)
        return out

    def passthrough(self):
        """Mounts once to see whether it works at all, and with passthrough."""
        c = suite.Trainfs(self)
        c.start()
        status = json.loads(c.do("status", "--json", c.root).out)
        c.stop()
        return "on" if status["passthrough"] else "off: " + status.get("passthrough_reason", "?")


def parse():
    p = argparse.ArgumentParser(prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter, description=(
        "Measures trainfs side by side with the local disk, rclone and s3fs.\nworkloads:\n" +
        "\n".join(f"  {n}  {suite.title(n, suite.Sizes(False))}" for n in suite.ALL)))
    p.add_argument("--only", metavar="N[,N]", help="these workloads only")
    p.add_argument("--quick", action="store_true", help="tiny sizes and one pair: shows that the benchmark works, measures nothing")
    p.add_argument("--rounds", type=int, default=5, help="pairs (default 5)")
    p.add_argument("--peer-rounds", type=int, default=3, help="pairs of rclone mount and s3fs, which are slow (default 3)")
    p.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for one run; a peer that takes longer is out of its workload (default 600)")
    p.add_argument("--pause", type=float, metavar="SECONDS", help="quiet time between runs (default 1)")
    p.add_argument("--dir", default="/var/tmp", help="everything is written below a temporary directory here (default /var/tmp)")
    p.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    p.add_argument("--report", metavar="FILE", nargs="+", help="measure nothing: report what --json has written in several runs")
    p.add_argument("--readme", metavar="FILE", help=f"put the Markdown into FILE between {report.BEGIN} and {report.END}")
    p.add_argument("--trainfs", metavar="PROGRAM", help="a built trainfs (default: build this tree)")
    p.add_argument("--rclone", default="rclone", metavar="PROGRAM")
    p.add_argument("--s3fs", default="s3fs", metavar="PROGRAM")
    p.add_argument("--keep-logs", metavar="DIR", help="copy the logs of all daemons to DIR at the end")
    o = p.parse_args()
    try:
        o.only = sorted({int(n) for n in o.only.split(",")}) if o.only else list(suite.ALL)
    except ValueError:
        p.error(f"--only {o.only}: numbers, please, as in --only 1,4")
    unknown = [n for n in o.only if n not in suite.ALL]
    if unknown:
        p.error(f"--only: there is no workload {unknown[0]}, only 1 to {max(suite.ALL)}")
    if o.rounds < 1 or o.peer_rounds < 1 or o.timeout <= 0:
        p.error("--rounds, --peer-rounds and --timeout start at 1")
    if o.quick and o.readme:
        p.error("--quick measures nothing that belongs into a README")
    if o.quick:
        o.rounds = o.peer_rounds = 1
    if o.pause is None:
        o.pause = 0.1 if o.quick else 1.0
    return o


def command_of(o):
    """The command that measures the same, without the names of this machine's files."""
    only = "" if o.only == list(suite.ALL) else " --only " + ",".join(map(str, o.only))
    return f"scripts/bench{only} --rounds {o.rounds} --peer-rounds {o.peer_rounds}"


def enough_space(o, sizes):
    os.makedirs(o.dir, exist_ok=True)
    most = max(suite.disk_bytes(n, o.rounds, o.peer_rounds, sizes) for n in o.only) + sizes.warm
    free, need = shutil.disk_usage(o.dir).free, most * 1.1 + GIB
    if free < need:
        raise BenchError(f"{o.dir} has {free / GIB:.1f} GiB free, {need / GIB:.1f} GiB are needed, as nothing is deleted "
                         "while it is measured: say --dir, or fewer --rounds and --peer-rounds")


def measure(bench, number):
    title, start = suite.title(number, bench.sizes), time.monotonic()
    bench.say(f"{number}. {title}")
    before = list(bench.cleanup.undos)
    try:
        rows, notes = suite.ALL[number](bench)
        return report.Result(number, title, rows, notes, wall=time.monotonic() - start)
    except BenchError as err:
        bench.say(f"  FAILED: {err}")
        for undo in reversed([u for u in bench.cleanup.undos if u not in before]):
            undo()
            bench.cleanup.undos.remove(undo)
        return report.Result(number, title, error=str(err), wall=time.monotonic() - start)


def report_only(o):
    """--report: several runs of some workloads each, as one."""
    try:
        facts, results = report.joined(o.report)
        if facts["quick"]:
            raise BenchError("--report: a --quick run measures nothing")
        print("\n" + report.table(results) + "\n" + report.markdown(facts, results))
        if o.readme:
            report.write_readme(o.readme, report.markdown(facts, results))
        return 0
    except BenchError as err:
        print(f"bench: {err}", file=sys.stderr)
        return 1


def main():
    o = parse()
    if o.report:
        return report_only(o)
    cleanup = process.Cleanup()
    process.signals_end_it()
    say = lambda text: print(text, file=sys.stderr, flush=True)
    bench, results, load = None, [], machine.load()  # before we put load on it ourselves
    try:
        enough_space(o, suite.Sizes(o.quick))
        if o.readme:
            report.check_readme(o.readme)
        bench = Bench(o, cleanup)
        bench.prepare(o)
        facts = machine.describe(ROOT, bench.tools, bench.work)
        facts.update(command=command_of(o), quick=o.quick, directory=o.dir, load_before=load,
                     versitygw=gateway.VERSION, passthrough=bench.passthrough())
        say(f"{facts['cpu']}, {facts['cpus']} CPUs, Linux {facts['kernel']}, {facts['file_system']} at {o.dir}, "
            f"load before {load:.2f}; passthrough {facts['passthrough']}")
        for n in o.only:
            results.append(measure(bench, n))
            bench.make_room()
        print("\n" + report.table(results))
        if o.quick:
            print("QUICK: these are not figures, they only show that the benchmark works.")
        else:
            print(report.markdown(facts, results))
        if o.json:
            report.replace(o.json, report.as_json(facts, results))
        if o.readme:
            report.write_readme(o.readme, report.markdown(facts, results))
        return 1 if any(r.error for r in results) else 0
    except (BenchError, OSError, subprocess.SubprocessError) as err:
        say(f"bench: {err}")
        return 1
    except KeyboardInterrupt:
        if results:
            print("\n" + report.table(results))
        say("bench: interrupted, cleaning up; only the workloads that ended are shown, and nothing is written")
        return 130
    finally:
        if bench and o.keep_logs:
            shutil.copytree(bench.logs, o.keep_logs, dirs_exist_ok=True)
        cleanup.run(say)


if __name__ == "__main__":
    sys.exit(main())
