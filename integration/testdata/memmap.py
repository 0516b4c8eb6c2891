"""memmap.py FILE BYTES: writes a file through numpy.memmap, as it is told on stdin, a line
at a time: a capital fills it, s is flush, d is del. It answers each with a line."""

import sys

import numpy as np

path, size = sys.argv[1], int(sys.argv[2])
m = np.memmap(path, dtype="uint8", mode="w+", shape=(size,))
print("mapped", flush=True)
for line in sys.stdin:
    what = line.strip()
    if what == "s":
        m.flush()
    elif what == "d":
        del m
    else:
        m[:] = ord(what)
    print("done", flush=True)
