"""Which pairs are the first of their kind, found from 8-byte hashes in bounded memory.

The hashes lie in a file. They are taken in slices of their value range, each small enough to sort
in memory, so that the bound holds whatever the number of pairs: about 40 bytes for each of
``SLICE_PAIRS`` pairs (160 MB), read once for each slice. Two different pairs share a hash with a
chance of n^2 / 2^65: below one in a million for all pairs of WMT14 together.
"""

from pathlib import Path

import numpy as np

from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.writing import claim_space

SLICE_PAIRS = 1 << 22
READ_PAIRS = 1 << 20


def mark_first(hash_file: Path, keep_file: Path, slice_pairs: int = SLICE_PAIRS) -> int:
    """Write one byte for each pair, 1 for the first of its hash and 0 for a repetition.

    Args:
        hash_file: little-endian 8-byte hashes, in the order of the pairs.
        keep_file: where the bytes go.
        slice_pairs: how many hashes are sorted at once, about.

    Returns:
        The number of repetitions.
    """
    pairs = hash_file.stat().st_size // 8
    slices = 2 << (pairs // slice_pairs).bit_length()
    with atomic_writers(keep_file) as (file,):
        if not pairs:
            return 0
        claim_space(file, pairs)
        keep = np.memmap(file, np.uint8, "r+", shape=(pairs,))
        first = 0
        for number in range(slices):
            hashes, positions = _slice(hash_file, number, slices)
            # np.unique sorts stably for return_index: the first position of each hash.
            _, firsts = np.unique(hashes, return_index=True)
            keep[positions[firsts]] = 1
            first += len(firsts)
        keep.flush()
    return pairs - first


def mark_all(hash_file: Path, keep_file: Path) -> int:
    """Write a 1 for each pair: nothing is a repetition."""
    left = hash_file.stat().st_size // 8
    with atomic_writers(keep_file) as (file,):
        while left > 0:
            file.write(b"\x01" * min(left, READ_PAIRS))
            left -= READ_PAIRS
    return 0


def _slice(hash_file: Path, number: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes whose highest bits are ``number``, and their positions."""
    # At least two slices, since shifting 64-bit values by 64 bits is undefined.
    shift = np.uint64(64 - (slices.bit_length() - 1))
    hashes, positions = [], []
    start = 0
    with hash_file.open("rb") as file:
        while block := file.read(8 * READ_PAIRS):
            values = np.frombuffer(block, "<u8")
            chosen = np.nonzero(values >> shift == number)[0]
            hashes.append(values[chosen])
            positions.append(chosen + start)
            start += len(values)
    return np.concatenate(hashes), np.concatenate(positions)
