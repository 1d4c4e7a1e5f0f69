"""RemoteTier keeps the contract of places that others share over S3, where anything may lie under a frame's name."""

import time

import pytest

from connectors.remote.s3_url import S3Address
from connectors.remote.value import name_of
from kvstore import Terms
from kvstore.testing import HoldingContract
from kvstore.testing.made_up import frame, frames, held, key, prompt
from tests.connectors.remote.redis_servers import wait_until
from tests.connectors.remote.test_remote_tier import flushing


class TestOverS3(HoldingContract):
    @pytest.fixture(autouse=True)
    def _served(self, s3):
        self._server = s3

    def url(self, tmp_path):
        return self._server.url(prefix=f"tier/{tmp_path.name}")

    def roomy(self, tmp_path):
        return flushing(self.url(tmp_path))

    def test_a_frame_whose_time_is_up_makes_room_where_the_server_keeps_it(self, tmp_path):
        with self.roomy(tmp_path) as tier:
            tier.put(frames([key("a")]), terms=Terms(expires_at_s=time.time() + 0.3))
            assert tier.match([key("a")]) == 1
            time.sleep(0.3)
            assert tier.get(key("a")) is None
            wait_until(lambda: tier.match([key("a")]) == 0, "it is deleted")
            assert tier.put(frames([key("a")])) == 1
            assert held(tier, key("a")) == frame(key("a"))

    @pytest.mark.parametrize(
        "spoilt",
        [
            pytest.param(lambda ours, theirs: ours[:-1], id="torn"),
            pytest.param(lambda ours, theirs: ours[:100], id="torn in its header"),
            pytest.param(lambda ours, theirs: ours[:-1] + bytes([ours[-1] ^ 1]), id="flipped"),
            pytest.param(lambda ours, theirs: ours + b"more", id="longer"),
            pytest.param(lambda ours, theirs: theirs, id="of another key"),
            pytest.param(lambda ours, theirs: b"somebody else's object" * 100, id="foreign"),
            pytest.param(lambda ours, theirs: b"", id="empty"),
        ],
    )
    def test_what_is_not_the_frame_is_a_miss_that_is_removed(self, tmp_path, spoilt):
        bucket = S3Address.of(self.url(tmp_path)).client(20.0)
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            ours, theirs = (bucket.get(name_of(each)).bytes().to_bytes() for each in keys)
            bucket.put(name_of(keys[0]), spoilt(ours, theirs))
            assert tier.get(keys[0]) is None
            wait_until(lambda: tier.match(keys) == 0, "it is deleted, or none to begin with")
            assert held(tier, keys[1]) == frame(keys[1])
