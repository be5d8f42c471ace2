"""What CPython's unpicklers would import and call, without doing it.

Reads pickles from stdin, each after its length in four bytes, and writes a line
of JSON for each: the imports and calls of the C unpickler on a file, on a stream
that cannot be peeked into, and of the Python one. In a frame that ends within an
argument the three differ. find_class gives inert classes that only take note.
"""

import io
import json
import pickle
import resource
import struct
import sys

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
sys.setrecursionlimit(2000)


class Log:
    def __init__(self):
        self.imports, self.calls = [], []


def inert(log, name):
    def new(cls, *args, **kwargs):
        log.calls.append(name)
        return object.__new__(cls)

    nothing = lambda self, *args, **kwargs: None
    return type("Inert", (), {
        "__new__": new, "__init__": nothing, "__setstate__": nothing, "__setitem__": nothing,
        "append": nothing, "extend": nothing, "add": nothing, "__hash__": lambda self: 1, "__eq__": lambda self, other: self is other,
    })


def unpickler(base, log):
    class Watched(base):
        def find_class(self, module, name):
            log.imports.append(module + ":" + name)
            return inert(log, module + ":" + name)

        def persistent_load(self, pid):
            return inert(log, "persistent")

    return Watched


def watch(base, stream):
    log, error = Log(), ""
    try:
        unpickler(base, log)(stream).load()
    except BaseException as e:  # whatever it is, it ended the load
        error = type(e).__name__ + ": " + str(e)[:100]
    return {"imports": log.imports, "calls": log.calls, "error": error}


while head := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    print(json.dumps({
        "c": watch(pickle.Unpickler, io.BufferedReader(io.BytesIO(data))),
        "stream": watch(pickle.Unpickler, io.BytesIO(data)),
        "python": watch(pickle._Unpickler, io.BytesIO(data)),
    }))
