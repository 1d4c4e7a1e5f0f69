"""The seal covers every byte of an index, and is what docs/format.md says."""

import random

import pytest
import xxhash

from kvstore.index_seal import break_seal, check_seal, seal
from kvstore.lmdb_env import DamagedFile

MIB = 1 << 20


def sealed(directory, num_bytes):
    """A directory with an index of that many bytes, which need not be LMDB's, and its seal; the bytes."""
    content = random.Random(num_bytes).randbytes(num_bytes)
    (directory / "data.mdb").write_bytes(content)
    seal(directory)
    return content


@pytest.mark.parametrize("num_bytes", [0, 1, MIB, MIB + 1, 7 * MIB - 5])
def test_a_seal_is_the_hash_of_the_hashes_of_pieces(num_bytes, tmp_path):
    content = sealed(tmp_path, num_bytes)
    hashes = [xxhash.xxh3_128_digest(content[start : start + MIB]) for start in range(0, num_bytes, MIB)]
    assert (tmp_path / "seal").read_bytes() == xxhash.xxh3_128_digest(b"".join(hashes))
    check_seal(tmp_path)
    break_seal(tmp_path)
    assert not (tmp_path / "seal").exists() or not num_bytes


def test_a_flipped_bit_anywhere_breaks_it(tmp_path):
    content = bytearray(sealed(tmp_path, 5 * MIB + 77))
    edges = [end - 1 for end in range(MIB, len(content), MIB)] + list(range(0, len(content), MIB))
    for place in [*edges, len(content) - 1, *random.Random(0).sample(range(len(content)), 20)]:
        content[place] ^= 1 << place % 8
        (tmp_path / "data.mdb").write_bytes(content)
        with pytest.raises(DamagedFile):
            check_seal(tmp_path)
        content[place] ^= 1 << place % 8


@pytest.mark.parametrize("change", [-MIB, -1, 1, MIB], ids=["piece less", "byte less", "byte more", "piece more"])
def test_another_length_breaks_it(change, tmp_path):
    content = sealed(tmp_path, 3 * MIB)
    (tmp_path / "data.mdb").write_bytes(content[: len(content) + change] + content[: max(change, 0)])
    with pytest.raises(DamagedFile):
        break_seal(tmp_path)


def test_pieces_in_another_order_break_it(tmp_path):
    content = sealed(tmp_path, 3 * MIB)
    (tmp_path / "data.mdb").write_bytes(content[MIB : 2 * MIB] + content[:MIB] + content[2 * MIB :])
    with pytest.raises(DamagedFile):
        check_seal(tmp_path)
