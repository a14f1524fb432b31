#!/usr/bin/env python3
"""Checks that a wheel stands alone: what its binaries need is in it or is part of every Linux with glibc.

usage: check_wheel.py WHEEL
SPDX-License-Identifier: Apache-2.0
"""
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Of the last two (libtiff's LERC is C++) every platform tag of wheels says that they are there, and NumPy needs them itself; a
# second copy would be in the way of whoever needs a newer one.
EVERYWHERE = re.compile(r"^(ld-linux-[a-z0-9-]+|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+))\.so\.\d+$")
LARGEST = 60 << 20


def main():
    wheel = Path(sys.argv[1])
    bad = []
    if "-abi3-" not in wheel.name:
        bad.append(f"{wheel.name} is not for the stable ABI")
    if wheel.stat().st_size > LARGEST:
        bad.append(f"{wheel.name} has {wheel.stat().st_size >> 20} MB")
    with tempfile.TemporaryDirectory() as d:
        zipfile.ZipFile(wheel).extractall(d)
        files = [p for p in Path(d).rglob("*") if p.is_file() and p.open("rb").read(4) == b"\x7fELF"]
        inside = {p.name for p in files}
        for p in files:
            text = subprocess.run(["readelf", "-d", p], check=True, capture_output=True, text=True).stdout
            for need in re.findall(r"\(NEEDED\).*\[(.*)\]", text):
                if need not in inside and not EVERYWHERE.match(need):
                    bad.append(f"{p.relative_to(d)} needs {need}, which is not in the wheel")
        for name in ("_native.abi3.so", "libsard-codegen.so", "libsard-images.so", "libsard-npz.so", "sard"):
            if name not in inside:
                bad.append(f"{name} is not in the wheel")
    print("\n".join(bad) or f"{wheel.name}: {len(files)} binaries, {wheel.stat().st_size / 2**20:.1f} MB")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
