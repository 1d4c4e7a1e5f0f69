"""What settings describe is opened, and what they cannot mean is refused with what to change."""

import pytest

from connectors.settings import load_settings
from connectors.sidecar.opening import open_context
from kvstore import InvalidRequest

PROXY = {"upstream": "http://127.0.0.1:9/v1", "key": "the large key"}


def opened(tmp_path, proxy, **semantic):
    tables = {
        "store": {"path": str(tmp_path / "store")},
        "memory": {"capacity_bytes": 0},
        "disk": {"capacity_bytes": 1 << 20},
        "proxy": {**PROXY, **proxy},
        "semantic": {"path": str(tmp_path / "answers"), "embedder": "lexical", **semantic},
    }
    return open_context(load_settings(environ={"XDG_CACHE_HOME": str(tmp_path)}, overrides=tables))


def test_a_small_model_stands_in_where_it_is_named(tmp_path):
    with opened(tmp_path, {}) as context:
        assert context.front.stand_in is None
    with opened(tmp_path, {"small_model": "tiny", "small_compared": 0.5}) as context:
        assert context.front.stand_in.compared == 0.5


REFUSED = {
    "small_model": ({"small_upstream": "http://127.0.0.1:9/v1"}, {}),
    "capacity_bytes": ({"small_model": "tiny"}, {"capacity_bytes": 0}),
    "forward_authorization": ({"small_model": "tiny", "forward_authorization": True}, {}),
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_small_model_that_could_not_be_asked_rightly_is_refused(tmp_path, named):
    proxy, semantic = REFUSED[named]
    with pytest.raises(InvalidRequest, match=named), opened(tmp_path, proxy, **semantic):
        pass
