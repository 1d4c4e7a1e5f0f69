"""NoTier: the control that holds nothing."""

from kvstore import NoTier
from kvstore.testing import frames, key, prompt


def test_no_tier_declines_every_put_and_misses_every_get():
    with NoTier() as tier:
        assert tier.put(frames(prompt("a", 2))) == 0
        assert tier.match(prompt("a", 2)) == 0
        assert tier.get(key("a")) is None
        assert not tier.delete(key("a"))
        tier.touch(prompt("a", 2))
        tier.quarantine(key("a"), "for a test")
        assert list(tier.entries()) == []
        assert tier.size_bytes == 0
