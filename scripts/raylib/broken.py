"""What watches the bucket is watched: it has to find what is broken on purpose."""

import os

import botocore.session

from benchlib import BenchError
from raylib import Failed
from raylib.lab import BUCKET


def broken(lab):
    """A mount that does not hold trackers back, and a spoilt bucket: the watcher and the last check find them."""
    lab.end_nodes()
    lab.new_node("hold=0")        # the snapshot waits for nobody,
    lab.new_node("settle=10s")    # and this node is late
    lab.start_ray()
    watch = lab.watch("broken")
    with_watch(watch, lambda: lab.job("broken", epochs=5, pause=2).ends())
    if not any("is not there" in v or "bytes" in v for v in watch.violations):
        raise Failed(f"with hold=0 the watcher has found nothing in {watch.looks} looks")
    lab.say(f"with hold=0 {len(watch.violations)} of {watch.looks} looks find the snapshot ahead of a checkpoint")
    lab.drain()
    run = lab.bucket("broken")
    run.check_end()
    lab.end_nodes()
    for what, spoil in (("an orphaned object", orphan), ("an unfinished upload", upload), ("a member cut short", cut)):
        mend = spoil(lab, run)
        try:
            run.check_end(patience=1)
        except (Failed, BenchError) as err:
            lab.say(f"{what} is found: {str(err)[:150]}")
        else:
            raise Failed(f"the last check does not find {what}")
        mend()
        run.check_end()


def with_watch(watch, do):
    watch.thread.start()
    try:
        do()
    finally:
        watch.end()


# Each spoils the bucket in one way, and returns what mends it.


def orphan(lab, run):
    directory = os.path.join(lab.gateway.directory, BUCKET, run.prefix, "checkpoint_2020-01-01_00-00-00.000000")
    os.mkdir(directory)
    path = os.path.join(directory, "model.pt")
    with open(path, "w") as f:
        f.write("left")

    def mend():
        os.remove(path)
        os.rmdir(directory)

    return mend


def upload(lab, run):
    key = f"{run.prefix}/{run.snapshot()[1][0]}/rank0/model.pt"
    client = botocore.session.get_session().create_client(
        "s3", endpoint_url=lab.gateway.endpoint, region_name="us-east-1",
        aws_access_key_id=lab.gateway.access, aws_secret_access_key=lab.gateway.secret)
    begun = client.create_multipart_upload(Bucket=BUCKET, Key=key)
    return lambda: client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=begun["UploadId"])


def cut(lab, run):
    path = os.path.join(lab.gateway.directory, BUCKET, run.prefix, run.snapshot()[1][0], "rank1", "ballast.bin")
    size = os.path.getsize(path)
    with open(path, "rb+") as f:
        f.seek(size - 1)
        last = f.read(1)
        f.truncate(size - 1)

    def mend():
        with open(path, "ab") as f:
            f.write(last)

    return mend
