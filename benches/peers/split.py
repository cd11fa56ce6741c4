"""Writes the server lists of the protocol "unseen servers" (../protocols/).

A VM and its later re-creations (`vm0007`, `vm0007x8`) stay on one side: the side follows from the SHA-256 of the part
before the `x`. The 20 VMs with the smallest hashes are forecast, the others train.

    split.py --data RECORDS [--check]
"""

import argparse
import hashlib
import sys

import numpy as np
import pyarrow.parquet as pq

import rollups

NUM_TEST = 20
FOLDER = rollups.ROOT / "benches" / "protocols"


def machine(server):
    """The VM that a series belongs to."""
    return server.partition("x")[0]


def split(servers):
    """(training, test) names, sorted."""
    by_hash = sorted({machine(s) for s in servers}, key=lambda m: hashlib.sha256(m.encode()).hexdigest())
    test = set(by_hash[:NUM_TEST])
    return [sorted(s for s in servers if (machine(s) in test) == side) for side in (False, True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 3 where a file is not what the rule gives")
    args = parser.parse_args()
    servers = np.unique(pq.read_table(args.data, columns=["server"])["server"].to_numpy(zero_copy_only=False).astype(str))
    ok = True
    for name, side in zip(("unseen-train.txt", "unseen-test.txt"), split(servers)):
        text = "".join(f"{server}\n" for server in side)
        if args.check:
            ok &= (FOLDER / name).read_text() == text
        else:
            (FOLDER / name).write_text(text)
        print(f"{name}: {len({machine(s) for s in side})} VMs, {len(side)} series")
    if not ok:
        sys.exit(3)


if __name__ == "__main__":
    main()
