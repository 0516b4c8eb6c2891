"""What scripts/bench does, in Python's standard library only.

  workload     the program that writes and reads files; a process of its own each time
  machine      what this machine is, and which versions of the tools it has
  process      children that never outlive the benchmark, and the order of cleaning up
  gateway      the S3 server, and a listing of its objects
  contestants  what is compared: a directory, trainfs, rclone mount, s3fs, go-fuse's loopback
  measure      rounds, pairs, medians, ratios
  suite        the seven workloads and their goals
  report       the table, the Markdown, the JSON
"""


class BenchError(Exception):
    """Something that was to be measured did not work; the text says what."""


class TimedOut(BenchError):
    """It took longer than --timeout."""
