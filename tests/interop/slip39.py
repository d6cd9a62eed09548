"""The other side of recovery sheets: splits and combines with shamir-mnemonic, which is not ours.

combine: a sheet a line on standard input; prints the secret in hexadecimal.
split K N: the secret in hexadecimal on standard input; prints N sheets.
"""

import sys

import shamir_mnemonic

if sys.argv[1] == "combine":
    print(shamir_mnemonic.combine_mnemonics(sys.stdin.read().split("\n")[:-1], b"").hex())
else:
    threshold, count = int(sys.argv[2]), int(sys.argv[3])
    secret = bytes.fromhex(sys.stdin.read().strip())
    for sheet in shamir_mnemonic.generate_mnemonics(1, [(threshold, count)], secret, b"")[0]:
        print(sheet)
