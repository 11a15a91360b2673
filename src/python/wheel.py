"""Packs the program as a wheel: `wheel.py PROGRAM FOLDER`. What it needs of the system decides the wheel's tag."""

import base64
import hashlib
import os
import platform
import re
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
TORCH = "2.11.0"
# Newest symbols of libstdc++ that every system with a glibc of at least 2.MINOR has, as PEP 600's policies say.
LIBSTDCXX = [(28, (3, 4, 25)), (31, (3, 4, 28)), (34, (3, 4, 29)), (35, (3, 4, 30)), (38, (3, 4, 32)), (39, (3, 4, 33))]
# Libraries that every such system has, and those that come with torch.
KNOWN = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|ld-linux-[\w-]+|libtorch\w*|libc10\w*)\.so")


def read(*command):
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def newest(name, symbols):
    """The newest version of `name` among the symbols, as a tuple."""
    found = re.findall(rf"\b{name}_([0-9.]+)", symbols)
    return max(tuple(int(part) for part in version.split(".")) for version in found)


def tag(program):
    """The manylinux tag that the program keeps: by its symbols, not by the machine it was built on."""
    foreign = [lib for lib in re.findall(r"NEEDED.*\[(.*)\]", read("readelf", "-d", program)) if not KNOWN.match(lib)]
    if foreign:
        sys.exit(f"{program} needs {', '.join(foreign)}, which no wheel may count on")
    symbols = read("readelf", "--dyn-syms", "--wide", program)
    glibc = newest("GLIBC", symbols)[1]
    libstdcxx = newest("GLIBCXX", symbols)
    enough = [minor for minor, version in LIBSTDCXX if version >= libstdcxx]
    if not enough:
        sys.exit(f"{program} needs GLIBCXX_{'.'.join(map(str, libstdcxx))}, newer than any manylinux policy here knows")
    return f"py3-none-manylinux_2_{max(glibc, enough[0], 28)}_{platform.machine()}"


def version():
    """The version of the crate."""
    with open(os.path.join(HERE, "..", "..", "Cargo.toml"), encoding="utf-8") as manifest:
        return re.search(r'^version = "(.*)"', manifest.read(), re.MULTILINE).group(1)


def metadata(name, number, program):
    """The files of the dist-info folder but its record."""
    return {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
        "Summary: Trains multi-task rankers from TFRecord files and tables\nLicense: Apache-2.0\n"
        f"Requires-Python: >=3.9\nRequires-Dist: torch=={TORCH}\n",
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: recap-train\nRoot-Is-Purelib: false\nTag: {tag(program)}\n",
        "entry_points.txt": "[console_scripts]\nrecap-train = recap_train:main\n",
    }


def pack(program, folder):
    """Writes the wheel and returns its path."""
    number = version()
    info = f"recap_train-{number}.dist-info"
    files = {f"{info}/{name}": text.encode() for name, text in metadata("recap-train", number, program).items()}
    for name in ("__init__.py", "__main__.py"):
        with open(os.path.join(HERE, "recap_train", name), "rb") as file:
            files[f"recap_train/{name}"] = file.read()
    with open(program, "rb") as file:
        files["recap_train/bin/recap-train"] = file.read()
    beside = os.path.join(os.path.dirname(program), "librecap_cuda.so")
    if os.path.exists(beside):
        with open(beside, "rb") as file:
            files["recap_train/bin/librecap_cuda.so"] = file.read()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"recap_train-{number}-{tag(program)}.whl")
    record = ""
    with zipfile.ZipFile(path + ".part", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if "/bin/" in name else 0o100644) << 16
            wheel.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2020, 1, 1, 0, 0, 0)), record + f"{info}/RECORD,,\n")
    os.replace(path + ".part", path)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(pack(*sys.argv[1:]))
