"""Starts recap-train, the program in this package, with the libtorch of the torch that is installed beside it."""

import importlib.metadata
import importlib.util
import os
import sys

TORCH = "2.11.0"
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "recap-train")


def torch_lib():
    """The folder of torch's shared objects; ends the process where there is none of the version that is needed."""
    found = importlib.util.find_spec("torch")
    version = importlib.metadata.version("torch") if found else None
    if version is None or version.split("+")[0] != TORCH:
        sys.exit(f"recap-train needs torch {TORCH}, found {version or 'none'}: pip install torch=={TORCH}")
    return os.path.join(os.path.dirname(found.origin), "lib")


def main():
    """Becomes the program: same arguments, same process."""
    lib = torch_lib()
    beside = os.path.join(os.path.dirname(os.path.dirname(PROGRAM)), "..", "torch", "lib")
    if os.path.realpath(lib) != os.path.realpath(beside):
        # torch lies in another folder of this Python: the program's own run path does not name it.
        paths = [lib, os.environ.get("LD_LIBRARY_PATH")]
        os.environ["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    os.execv(PROGRAM, ["recap-train", *sys.argv[1:]])
