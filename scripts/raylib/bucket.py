"""The raw bucket, read without trainfs, and what has to be in it at the end."""

import hashlib
import json
import urllib.parse
import xml.etree.ElementTree

from benchlib import BenchError, process
from raylib import Failed

SNAPSHOT = "checkpoint_manager_snapshot.json"
RANKS = 2


class Run:
    """One run's directory below the storage path."""

    def __init__(self, gateway, bucket, prefix):
        self.gateway, self.name, self.prefix = gateway, bucket, prefix
        self.storage = prefix.partition("/")[0]

    def list(self, path=""):
        """{key below the run: size}."""
        start = f"{self.prefix}/{path}"
        found = self.gateway.list(self.name, start)
        return {key[len(self.prefix) + 1:]: size for key, size in found.items() if not key.endswith("/")}

    def get(self, path):
        """Content, None if there is none."""
        try:
            return self.gateway.get(f"/{self.name}/{urllib.parse.quote(self.prefix)}/{urllib.parse.quote(path)}", {})
        except BenchError as err:
            if ": 404" in str(err):
                return None
            raise

    def snapshot(self):
        """Content and the checkpoints that it names, the latest last."""
        content = self.get(SNAPSHOT)
        if not content:
            return content, []
        told = json.loads(content)
        named = [r["checkpoint_dir_name"] for r in told["checkpoint_results"]]
        if told["latest_checkpoint_result"]:
            named.append(told["latest_checkpoint_result"]["checkpoint_dir_name"])
        return content, list(dict.fromkeys(named))

    def missing(self, checkpoint, content=False):
        """What is not as every rank has saved it, as a list of sentences."""
        there, wrong = self.list(checkpoint + "/"), []
        for rank in range(RANKS):
            listed = self.get(f"{checkpoint}/rank{rank}/files.json")
            if listed is None:
                wrong.append(f"{checkpoint}/rank{rank}/files.json is not there")
                continue
            for name, (size, sha) in json.loads(listed)["files"].items():
                key = f"{checkpoint}/rank{rank}/{name}"
                if there.get(key) != size:
                    wrong.append(f"{key} has {there.get(key)} of {size} bytes")
                elif content and hashlib.sha256(self.get(key) or b"").hexdigest() != sha:
                    wrong.append(f"{key} has other content")
        return wrong

    def epoch(self, checkpoint):
        return json.loads(self.get(f"{checkpoint}/rank0/files.json"))["epoch"]

    def checkpoints(self, below=""):
        return sorted({key[len(below):].split("/")[0] for key in self.list(below + "checkpoint_") if "/" in key[len(below):]})

    def unfinished_uploads(self):
        tree = xml.etree.ElementTree.fromstring(self.gateway.get("/" + self.name, {"uploads": ""}))
        return [e.text for e in tree.iter() if e.tag.rpartition("}")[2] == "Key" and e.text.startswith(self.prefix + "/")]

    def checkpoint_of(self, key):
        return next((part for part in key.split("/") if part.startswith("checkpoint_")), None)

    def markers(self):
        """trainfs's own objects for this run, below the run's name."""
        start = f"{self.storage}/.trainfs/v1/units/{self.prefix.partition('/')[2]}/"
        return sorted(key[len(start):] for key in self.gateway.list(self.name, start))

    def check_end(self, below="", interrupted=False, patience=90):
        """After the last commit: the two checkpoints that the run keeps, whole, and no trace of the rest.

        Of a report that a fault has interrupted Ray knows nothing afterwards, so its files stay, and
        what was begun of their upload."""
        found = self.checkpoints(below)
        kept = found if below else sorted(self.snapshot()[1])
        if len(kept) != 2 or (found != kept and not interrupted):
            raise Failed(f"the run keeps {kept}, the bucket has {found}")
        for checkpoint in kept:
            if wrong := self.missing(below + checkpoint, content=True):
                raise Failed(f"at the end: {wrong}")
        known = self.checkpoints(below) if interrupted else kept
        stray = [m for m in self.markers() if m[len(below):].split("/")[0] not in known
                 or m.endswith(".open") and m[len(below):].split("/")[0] in kept]
        if stray and not (interrupted and all(m.endswith(".open") for m in stray)):
            raise Failed(f"orphaned objects of trainfs: {stray}")

        def orphaned():  # what is torn keeps what it has sent
            return [key for key in self.unfinished_uploads() if not interrupted or self.checkpoint_of(key) in kept]

        process.until(lambda: not orphaned(), patience, f"no unfinished uploads are left: {orphaned()}")
        return [name for name in found if name not in kept]
