"""An engine whose client is not installed is named with the extra that brings it."""

import sys

import pytest

from connectors.remote.opening import open_store
from kvstore import InvalidRequest


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [("obstore", "s3://frames", "s3"), ("mooncake", "mooncake://127.0.0.1", "mooncake")],
)
def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch, package, url, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == package or f"remote.{extra}_" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidRequest, match=rf"kvstore\[{extra}\]"):
        open_store(url)


def test_a_scheme_that_is_none_is_refused_without_repeating_the_url():
    with pytest.raises(InvalidRequest, match="ftp is no kind of remote store; there are redis") as refused:
        open_store("ftp://user:secret@host")
    assert "secret" not in str(refused.value)
