"""Where a sidecar listens, who is let in there, and what stands in its way."""

import os
import stat

import pytest

from connectors.sidecar.server import Address, listen
from kvstore import InvalidRequest


def test_other_machines_are_not_let_in_without_a_token():
    for host in ("0.0.0.0", "::", "192.0.2.1", "kvstore.example", "0"):
        with pytest.raises(InvalidRequest, match="no token is set"):
            listen(Address(host), has_tokens=False)
    with pytest.raises(InvalidRequest, match="nowhere to listen"):
        listen(Address(""), has_tokens=True)
    for listening in listen(Address("0.0.0.0"), has_tokens=True):
        listening.close()


def test_the_socket_is_its_owners_alone_and_replaces_what_a_dead_service_left(tmp_path):
    path = tmp_path / "made" / "sidecar.sock"
    (dead,) = listen(Address("", socket=path), has_tokens=False)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(InvalidRequest, match="another service listens"):
        listen(Address("", socket=path), has_tokens=False)
    dead.close()
    (living,) = listen(Address("", socket=path), has_tokens=False)
    living.close()


def test_what_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "file"
    path.write_text("somebody's work")
    with pytest.raises(InvalidRequest, match="cannot be listened on"):
        listen(Address("", socket=path), has_tokens=False)
    assert path.read_text() == "somebody's work"
    with pytest.raises(InvalidRequest, match="cannot be listened on"):
        listen(Address("", socket=tmp_path / ("long" * 60)), has_tokens=False)


def test_a_port_that_is_taken_is_named():
    (first,) = listen(Address(), has_tokens=False)
    with first, pytest.raises(InvalidRequest, match=f"127.0.0.1:{first.getsockname()[1]} cannot be listened on"):
        listen(Address(port=first.getsockname()[1]), has_tokens=False)
