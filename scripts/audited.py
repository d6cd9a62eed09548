"""Compares the list of dependencies that `cargo auditable` put into a binary with Cargo.lock and with cargo's own tree.

    cargo tree … | python3 scripts/audited.py SECTION Cargo.lock

SECTION is the content of the section `.dep-v0`: JSON, compressed by zlib. `cargo audit bin` reads the same.
"""

import json
import sys
import tomllib
import zlib

section, lock = sys.argv[1:]
with open(section, "rb") as file:
    listed = json.loads(zlib.decompress(file.read()))["packages"]
with open(lock, "rb") as file:
    locked = {(p["name"], p["version"], p.get("source")) for p in tomllib.load(file)["package"]}
registry = "registry+https://github.com/rust-lang/crates.io-index"
sources = {"crates.io": registry, "local": None}

problems = []
if [p["name"] for p in listed if p.get("root")] != ["fieldbook"]:
    problems.append("its root is not fieldbook")
for p in listed:
    if (p["name"], p["version"], sources.get(p["source"], "?")) not in locked:
        problems.append(f"{p['name']} {p['version']} from {p['source']} is not in Cargo.lock")
have = {(p["name"], p["version"]) for p in listed}
# A line is "name vVERSION", and more for a path or a macro.
for name, version in sorted({tuple(line.split()[:2]) for line in sys.stdin if line.strip()}):
    if (name, version.removeprefix("v")) not in have:
        problems.append(f"{name} {version} is in the program, and not in its list")
for problem in problems:
    print(f"release: {problem}", file=sys.stderr)
if problems:
    sys.exit(1)
built = sum(p.get("kind", "runtime") == "runtime" for p in listed)
print(f"{len(listed)} packages are listed in the binary, {built} of them part of the program, all as in Cargo.lock")
