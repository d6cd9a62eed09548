"""The other side of bundles: reads them by protocol/bundle.md, with libraries that are not ours.

bundle.py FOLDER: runs the vectors of protocol/vectors/bundle and prints how many there were.
bundle.py SECRET FILE: the secret in hexadecimal; prints the ids of the entries of a part and its class.
"""

import struct
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

BLOCK, BODY = 16_384, 16_292
CONTEXT = "fieldbook 2026 bundle v1 block"


def open_block(block, secrets):
    """None: does not open. (head, None): the body does not. (head, body)."""
    for secret in secrets:
        key = blake3(secret + block[:32], derive_key_context=CONTEXT).digest()
        cipher = ChaCha20Poly1305(key)
        try:
            head = cipher.decrypt(bytes(12), block[32:76], None)
        except (InvalidTag, ValueError):
            continue
        version, flags, bundle, part, number, first, used = struct.unpack(">BB16sHIHH", head)
        if version == 1:
            if flags not in (0, 1, 3) or used > BODY or (first != 65_535 and first >= used):
                return None
        head = (version, flags, bundle, part, number, first, used)
        if len(block) != BLOCK or version != 1:
            return head, None
        try:
            return head, cipher.decrypt(b"\1" + bytes(11), block[76:], None)[:used]
        except InvalidTag:
            return head, None
    return None


class Part:
    def __init__(self):
        self.entries, self.this, self.complete, self.next = [], None, None, None
        self.blocks = self.good = self.damaged = self.misplaced = self.newer = 0
        self.cut = self.impossible = 0
        self.begun, self.adrift = b"", False

    def lose(self):
        self.cut += bool(self.begun)
        self.begun, self.next = b"", None

    def block(self, opened):
        place = self.blocks
        self.blocks += 1
        if opened is None:
            self.damaged += 1
            return self.lose()
        (version, flags, bundle, part, number, first, used), body = opened
        if version != 1:
            self.newer += 1
            return self.lose()
        self.this = self.this or (bundle, part)
        if body is None:
            self.damaged += 1
            return self.lose()
        self.good += 1
        ours = self.this == (bundle, part)
        self.misplaced += not ours or number != place
        if ours and flags & 1:
            self.complete = number + 1
        begins = first != 65_535
        first = first if begins else used
        if self.next == (bundle, part, number):
            if self.begun:
                self.begun += body[:first]
                length = record_length(self.begun)
                if length == len(self.begun):
                    self.entry(self.begun)
                    self.begun = b""
                elif length is not None and length < len(self.begun) or begins:
                    self.no_record()
                    self.begun = b""
            elif first and not self.adrift:
                self.no_record()
        else:
            self.lose()
            self.adrift = True
        if begins:
            self.adrift = False
        rest = body[first:]
        while rest:
            length = record_length(rest)
            if length == -1:
                self.no_record()
                break
            if length is None or length > len(rest):
                self.begun += rest
                break
            self.entry(rest[:length])
            rest = rest[length:]
        self.next = None if flags & 1 else (bundle, part, number + 1)

    def no_record(self):
        """Counted once, however many blocks go on with it."""
        self.impossible += 1
        self.adrift = True

    def entry(self, record):
        if blake3(record[36:]).digest() == record[4:36]:
            self.entries.append(record[4:36].hex())

    def verdict(self):
        self.lose()
        wrong = self.misplaced + self.cut + self.impossible
        if self.complete == self.blocks and self.good == self.blocks and not wrong:
            return "whole"
        if self.newer:
            return "newer"
        if not self.good and self.this is None:
            return "foreign"
        return "torn" if self.complete is None else "damaged"


def record_length(record):
    """None: cut. -1: no entry has it."""
    if len(record) < 4:
        return None
    (length,) = struct.unpack(">I", record[:4])
    return 36 + length if 1_024 <= length <= 1_245_184 else -1


def read(file, secrets):
    part = Part()
    for at in range(0, len(file), BLOCK):
        part.block(open_block(file[at : at + BLOCK], secrets))
    return part, part.verdict()


def edited(file, edits):
    for line in edits.split("\n"):
        what, *numbers = line.split(" ")
        numbers = [int(number) for number in numbers]
        blocks = [file[at : at + BLOCK] for at in range(0, len(file), BLOCK)]
        if what == "flip":
            at = numbers[0]
            file = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
        elif what == "cut":
            file = file[: numbers[0]]
        elif what == "add":
            file += bytes(numbers[0])
        elif what == "swap":
            one, other = numbers
            blocks[one], blocks[other] = blocks[other], blocks[one]
            file = b"".join(blocks)
        elif what == "drop":
            del blocks[numbers[0]]
            file = b"".join(blocks)
        elif what == "twice":
            blocks.insert(numbers[0], blocks[numbers[0]])
            file = b"".join(blocks)
        elif what:
            raise ValueError(line)
    return file


def vector(path):
    head, _, payload = path.read_text().partition("\n\n")
    return dict(line.split(": ", 1) for line in head.split("\n")), payload


if len(sys.argv) == 2:
    number = 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        fields, payload = vector(path)
        if "base" in fields:
            file = edited(bytes.fromhex(vector(path.parent / fields["base"])[1]), payload)
        else:
            file = bytes.fromhex(payload)
        part, verdict = read(file, [bytes.fromhex(secret) for secret in fields["secrets"].split(" ")])
        assert verdict == fields["expect"], f"{path.name}: {verdict}"
        assert (" ".join(part.entries) or "-") == fields["entries"], path.name
        for name in ["blocks", "good", "damaged", "misplaced", "cut", "impossible"]:
            assert str(getattr(part, name)) == fields[name], f"{path.name}: {name} {getattr(part, name)}"
        number += 1
    print(number)
else:
    part, verdict = read(Path(sys.argv[2]).read_bytes(), [bytes.fromhex(sys.argv[1])])
    print(verdict, *part.entries, sep="\n")
