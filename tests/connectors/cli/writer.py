"""A process that keeps writing a small store: `python -m tests.connectors.cli.writer DIR`.

Says "writing" once the store is open and full, then saves on, evicting, until its stdin is closed.
"""

import itertools
import select
import sys

from codec import codec_from
from kvstore import DiskTier, KVStore, Metrics
from tests.connectors.cli.conftest import CHUNK_TOKENS, SPECS
from tests.kv import kv_of_numbers

NUM_TOKENS = 8 * CHUNK_TOKENS


def main() -> None:
    spec, metrics = SPECS["lossless"], Metrics()
    with DiskTier(sys.argv[1], 200_000, metrics=metrics) as disk:
        store = KVStore([disk], codec_from("lossless"), CHUNK_TOKENS)
        kv, evicting = kv_of_numbers(spec, NUM_TOKENS), False
        for number in itertools.count():
            store.save(store.identity(spec), range(number, number + NUM_TOKENS), kv)
            if not evicting and metrics.snapshot()["chunks_evicted"]:
                evicting = True
                print("writing", flush=True)
            if select.select([sys.stdin], [], [], 0.001)[0]:
                return


if __name__ == "__main__":
    main()
