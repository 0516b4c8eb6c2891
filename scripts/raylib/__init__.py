"""scripts/ray: Ray Train on two nodes over trainfs.

node.py      a node: namespaces, a trainfs mount, a raylet
lab.py       the S3 server, the nodes, and the jobs that run on them
job.py       the training job; it knows nothing of trainfs
bucket.py    the raw bucket, and what has to be in it at the end
watch.py     the raw bucket at every moment
runs.py, faults.py, kills.py, reading.py, broken.py, figures.py   the scenarios
"""


class Failed(Exception):
    """A promise was not kept."""
