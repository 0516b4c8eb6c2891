"""scripts/ray: Ray Train on two nodes over trainfs.

node.py      a node: namespaces, a trainfs mount, a raylet
lab.py       the S3 server, the nodes, and the jobs that run on them
job.py       the training job; it knows nothing of trainfs
bucket.py    what the raw bucket says, at every moment and at the end
faults.py, runs.py, kills.py, reading.py, figures.py   the scenarios
"""


class Failed(Exception):
    """A promise was not kept."""
