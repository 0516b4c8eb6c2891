"""What scripts/frameworks does.

  jobs    training programs of real libraries, which know nothing of trainfs
  lab     the S3 server, the nodes with their mounts
  life    what each job goes through, and what has to hold
  table   what is printed last
"""


class Failed(Exception):
    """A promise was not kept."""
