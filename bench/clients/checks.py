"""What the checks of all clients share: the models' inputs, the way in, and the loop.

Each check is a function named after the client and what it does. It sends its
own name as the id of its request, so that a server which records requests can
name them.
"""

import argparse
import sys
import traceback

import numpy as np

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.ones((1, 16), dtype=np.int32)
IMAGE = (np.arange(48, dtype=np.float32).reshape(1, 48) / 7).astype(np.float32)


def words(a):
    return np.array([str(v).encode() for v in a.reshape(-1)], dtype=np.object_).reshape(a.shape)


class Setup:
    """Where the server is, and how to get in."""

    def __init__(self, args):
        self.http, self.grpc, self.ca = args.http, args.grpc, args.ca
        with open(args.token_file, encoding="utf-8") as f:
            self.token = f.read().strip()
        self.scheme = "https" if self.ca else "http"

    @property
    def headers(self):
        """New for each call: Triton's client writes its own headers into it."""
        return {"Authorization": "Bearer " + self.token}

    @property
    def lower(self):
        """The same for gRPC, whose names are in lower case."""
        return {"authorization": "Bearer " + self.token}


def run(setup, checks, doc):
    """Runs the checks, prints a line for each, and exits with 1 if one failed."""
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument("--http", required=True, help="host:port of REST")
    p.add_argument("--grpc", required=True, help="host:port of gRPC")
    p.add_argument("--token-file", required=True, help="file with the bearer token")
    p.add_argument("--ca", help="file with the certificate to trust; without it TLS is not spoken")
    p.add_argument("--only", default="", help="run the checks whose names hold this word")
    s = setup(args := p.parse_args())
    failed = 0
    for check in checks:
        if args.only not in check.__name__:
            continue
        try:
            check(s)
            print("ok    ", check.__name__, flush=True)
        except Exception:  # whatever a client throws is a failure of its check
            failed += 1
            print("FAILED", check.__name__, flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)

