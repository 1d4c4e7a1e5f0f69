"""Who asks is known by a token, and gets, sees, changes and learns of its own tenant's frames alone."""

import pytest

from connectors.frame_stream import head_of
from connectors.sidecar.callers import Caller, Tokens
from connectors.sidecar.loopback import names_this_host
from connectors.sidecar.problems import Problem
from kvstore.testing import key, prompt
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.conftest import ADMIN, OURS, THEIRS
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import sound, sound_prompt


def test_each_token_is_its_owners():
    tokens = Tokens(ADMIN, {"ours": OURS, "Ünal & Söhne": THEIRS})
    assert tokens.caller(ADMIN, False) == Caller(None, False)
    assert tokens.caller(OURS, True) == Caller("ours", True)
    assert tokens.caller(THEIRS, False) == Caller("Ünal & Söhne", False)


@pytest.mark.parametrize("given", [None, "", "no token of anybody", OURS + " ", OURS[:-1], OURS.upper(), "\udce9" * 9])
def test_what_is_nobodys_token_is_refused(given):
    with pytest.raises(Problem) as refused:
        Tokens(ADMIN, {"ours": OURS}).caller(given, False)
    assert refused.value.code == "unauthorized"
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_without_tokens_everybody_is_admin():
    assert not Tokens()
    assert Tokens().caller(None, False).is_admin
    assert Tokens().caller("anything", True).is_admin


@pytest.mark.parametrize("token", ["short", "fifteen letters", "ümlaut ümlaut ümlaut", "a line\nand another one"])
def test_a_token_that_is_none_cannot_be_set(token):
    with pytest.raises(ValueError, match="the admin"):
        Tokens(token)
    with pytest.raises(ValueError, match="'ours'"):
        Tokens("", {"ours": token})


def test_two_owners_cannot_have_one_token():
    with pytest.raises(ValueError, match="the same token"):
        Tokens(OURS, {"ours": OURS})


def test_an_admin_and_a_tenant_of_that_name_are_two_callers():
    assert Caller(None).name != Caller("admin").name


SCHEMES = ["{}", "Basic {}", "Bearer,{}", "Token {}", "Bearer", "Bearer {} {}"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_header_that_gives_no_token_is_refused(parties, scheme):
    header = {"Authorization": scheme.format(OURS, OURS)}
    assert parties.nobody("GET", f"/v1/frames/{key('a')}", headers=header).code == "unauthorized"


def test_the_scheme_may_be_written_in_any_case(parties):
    for scheme in ("bearer", "BEARER", "Bearer"):
        header = {"Authorization": f"{scheme} {OURS}"}
        assert parties.nobody("POST", "/v1/match", b'{"keys": []}', {**header, "Content-Type": "application/json"}).json


@pytest.mark.parametrize("token", ["x", "x" * 60_000, "\xff" * 40, "'; DROP TABLE frames", "%00%00", ADMIN[:-1]])
def test_garbage_is_no_token(parties, token):
    refused = Asking(parties.served, token)("GET", f"/v1/frames/{key('a')}")
    assert refused.code == "unauthorized"
    assert refused.headers["www-authenticate"] == "Bearer"


GUARDED = [
    ("GET", f"/v1/frames/{key('a')}"),
    ("HEAD", f"/v1/frames/{key('a')}"),
    ("PUT", f"/v1/frames/{key('a')}"),
    ("DELETE", f"/v1/frames/{key('a')}"),
    ("GET", "/v1/entries"),
    ("GET", "/v1/profiles"),
    ("PUT", "/v1/leases/abcdefghijklmnop"),
    ("DELETE", "/v1/leases/abcdefghijklmnop"),
    *(
        ("POST", f"/v1/{verb}")
        for verb in ("match", "descriptors", "frames/read", "frames/write", "touch", "pin", "prefetch", "delete")
    ),
    ("POST", "/v1/quarantine"),
    ("POST", "/v1/entries/read"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_is_done_for_who_has_no_token(parties, method, path):
    for body in (None, b"no JSON", b'{"keys": []}'):
        refused = parties.nobody(method, path, body)
        assert refused.status == 401
        if method != "HEAD":
            assert refused.code == "unauthorized"


def test_every_route_but_a_few_takes_a_token(parties):
    described = parties.nobody("GET", "/openapi.json").json
    open_to_all = {
        path for path, methods in described["paths"].items() for each in methods.values() if "security" not in each
    }
    assert open_to_all <= {"/healthz", "/readyz", "/metrics", "/", "/page/{name}"}


@pytest.fixture
def held(parties):
    """Keys of a prompt of theirs."""
    keys, frames = sound_prompt("theirs", 3)
    for index, each in enumerate(keys):
        before = {"parent": keys[index - 1]} if index else {}
        assert parties.theirs.put(each, frames[index], **before).status == 201
    return keys


def same(answer, of, other_answer, of_other):
    """Whether two answers differ in nothing but the keys that were asked for."""
    told, other = answer.body, other_answer.body
    for this, that in zip(of, of_other, strict=True):
        told, other = told.replace(str(this).encode(), b"KEY"), other.replace(str(that).encode(), b"KEY")
    return answer.status == other_answer.status and told == other


READS = {
    "get": lambda ask, keys: ask.get(keys[0]),
    "get layers": lambda ask, keys: ask.get(keys[0], layers="0:1"),
    "get a range": lambda ask, keys: ask.get(keys[0], {"Range": "bytes=0-10"}),
    "head": lambda ask, keys: ask("HEAD", f"/v1/frames/{keys[0]}"),
    "entry": lambda ask, keys: ask("GET", f"/v1/entries/{keys[0]}"),
    "entries": lambda ask, keys: ask.post("/v1/entries/read", keys=list(map(str, keys))),
    "list": lambda ask, keys: ask("GET", "/v1/entries"),
    "match": lambda ask, keys: ask.post("/v1/match", keys=list(map(str, keys))),
    "lease": lambda ask, keys: ask.post("/v1/match", keys=list(map(str, keys)), lease_s=10),
    "read": lambda ask, keys: ask.post("/v1/frames/read", keys=list(map(str, keys))),
    "touch": lambda ask, keys: ask.post("/v1/touch", keys=list(map(str, keys))),
    "pin": lambda ask, keys: ask.post("/v1/pin", keys=list(map(str, keys))),
    "unpin": lambda ask, keys: ask.post("/v1/pin", keys=list(map(str, keys)), pinned=False),
    "prefetch": lambda ask, keys: ask.post("/v1/prefetch", keys=list(map(str, keys))),
    "delete one": lambda ask, keys: ask("DELETE", f"/v1/frames/{keys[-1]}"),
    "delete": lambda ask, keys: ask.post("/v1/delete", keys=list(map(str, keys))),
    "delete behind": lambda ask, keys: ask.post("/v1/delete", prefix=str(keys[0])),
    "delete all": lambda ask, keys: ask.post("/v1/delete", everything=True),
    "delete the old": lambda ask, keys: ask.post("/v1/delete", unused_for_s=0),
    "quarantine": lambda ask, keys: ask.post("/v1/quarantine", key=str(keys[0]), reason="for a test"),
    "show": lambda ask, keys: ask("GET", f"/v1/chunks/{keys[0]}"),
}


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("over_socket", [False, True])
def test_another_tenants_frames_are_as_if_they_were_not_there(parties, tiers, held, what, over_socket):
    never_put, before = prompt("never put", 3), {each: tiers.entry(each) for each in held}
    ask = parties.on_this_host["ours"] if over_socket else parties.ours
    assert same(READS[what](ask, held), held, READS[what](ask, never_put), never_put)
    assert {each: tiers.entry(each) for each in held} == before
    assert parties.theirs.held(held) == 3


def test_places_in_files_are_told_of_ones_own_frames_alone(parties, held):
    parties.served.context.service.behind.flush(30)
    asked = {"keys": [str(each) for each in held]}
    assert parties.on_this_host["ours"].post("/v1/descriptors", **asked).json["frames"] == []
    assert len(parties.on_this_host["theirs"].post("/v1/descriptors", **asked).json["frames"]) == 3
    assert len(parties.on_this_host["admin"].post("/v1/descriptors", **asked).json["frames"]) == 3
    assert parties.theirs.post("/v1/descriptors", **asked).code == "forbidden"


def test_a_put_does_not_replace_another_tenants_frame(parties, held):
    forged = sound(held[0], seed=7)
    for durable in (False, True):
        assert parties.ours.put(held[0], forged, durable=durable).code == "no-room"
    assert parties.theirs.get(held[0]).body == sound(held[0])
    own = key("own")
    body = head_of(own, sound(own)) + sound(own) + head_of(held[1], forged) + forged
    assert parties.ours("POST", "/v1/frames/write", body).code == "corrupt-frame"
    forged = sound(held[1], seed=7)
    body = head_of(own, sound(own)) + sound(own) + head_of(held[1], forged) + forged
    assert parties.ours("POST", "/v1/frames/write", body).json == {"stored": 1, "durable": False}
    assert parties.theirs.get(held[1]).body == sound(held[1])


def test_an_admin_puts_for_a_tenant_and_sees_everything(parties, held):
    of_ours = key("put by the admin")
    assert parties.admin.put(of_ours, sound(of_ours), tenant="ours").status == 201
    assert parties.ours.get(of_ours).body == sound(of_ours)
    assert parties.theirs.get(of_ours).code == "not-found"
    assert parties.admin.held(held) == 3
    assert parties.admin.get(held[2]).body == sound(held[2])
    assert parties.admin.put(held[0], sound(held[0], seed=7)).code == "no-room"  # nobody's, and it is somebody's


def test_a_tenant_cannot_act_for_another(parties, held):
    for tenant in ("theirs", "", "OURS", "ours "):
        assert parties.ours.put(key("a"), sound(key("a")), tenant=tenant).code == "forbidden"
        assert parties.ours.post("/v1/delete", tenant=tenant).code == "forbidden"
        assert parties.ours("POST", "/v1/frames/write", b"never read", tenant=tenant).code == "forbidden"
    assert parties.ours.put(key("a"), sound(key("a")), tenant="ours").status == 201
    assert parties.theirs.held(held) == 3


def test_who_may_not_put_is_told_before_the_body_is_read(parties):
    sent = {"Content-Length": str(100 << 20), "Expect": "100-continue", "Kvstore-Xxh3": "0" * 32}
    for ask, code in ((parties.nobody, "unauthorized"), (parties.ours, "forbidden")):
        assert ask("PUT", f"/v1/frames/{key('a')}", headers=sent, tenant="theirs").code == code


def test_a_lease_is_its_holders_alone(parties, held):
    granted = parties.theirs.post("/v1/match", keys=[str(each) for each in held], lease_s=60).json["lease"]
    lease = f"/v1/leases/{granted['id']}"
    renewal = b'{"lease_s": 60}', {"Content-Type": "application/json"}
    for stranger in (parties.ours, parties.admin):
        assert stranger("PUT", lease, *renewal).code == "not-found"
        assert stranger("DELETE", lease).code == "not-found"
    assert parties.theirs("PUT", lease, *renewal).json == {"id": granted["id"], "seconds": 60}
    assert parties.theirs("DELETE", lease).status == 204


def test_a_chunk_put_behind_anothers_is_found_by_its_owner_alone(parties, held):
    behind = key("behind theirs")
    assert parties.ours.put(behind, sound(behind), parent=held[2]).status == 201
    assert parties.theirs.post("/v1/delete", prefix=str(held[0])).json["chunks"] == 3
    assert parties.ours.get(behind).body == sound(behind)


def test_tenants_have_names_in_any_script(tiers):
    names = ["Ünal & Söhne", "東京", "../../etc/passwd", "a\0b", "a b;c", "😀" * 50]
    tokens = {name: f"the token of number {number}" for number, name in enumerate(names)}
    with serving(tiers, tokens=Tokens(ADMIN, tokens)) as served:
        for name, token in tokens.items():
            this = key(name)
            ask = Asking(served, token)
            assert ask.put(this, sound(this), durable=True).status == 201
            assert ask.put(this, sound(this), tenant=name).status == 201
            assert ask.get(this).body == sound(this)
            assert tiers.entry(this).terms.tenant == name
            assert [Asking(served, other).held([this]) for other in tokens.values() if other != token] == [0] * 5
        assert Asking(served, ADMIN).post("/v1/delete", tenant="東京").json["chunks"] == 1


def test_a_tenants_name_that_no_record_has_room_for_is_refused(parties):
    for name in ("x" * 769, "😀" * 769):
        assert parties.admin.put(key("a"), sound(key("a")), tenant=name).code == "invalid-request"
    assert parties.admin.put(key("a"), sound(key("a")), tenant="😀" * 768, durable=True).status == 201


def test_a_frame_that_became_anothers_while_it_was_read_is_a_miss(parties, tiers, held, monkeypatch):
    service = parties.served.context.service
    assert service.get(Caller("theirs"), held[0]) is not None
    asked = iter([service.entry(Caller("theirs"), held[0])])
    monkeypatch.setattr(service, "entry", lambda caller, this: next(asked, None))
    assert service.get(Caller("theirs"), held[0]) is None


HOSTS = {
    None: True,
    "localhost": True,
    "LOCALHOST:8470": True,
    "127.0.0.1:8470": True,
    "127.8.9.1": True,
    "[::1]:8470": True,
    "kvstore.example": False,
    "localhost.example:8470": False,
    "127.0.0.1.example": False,
    "10.0.0.1": False,
    "[::ffff:10.0.0.1]": False,
    "[": False,
    "]:": False,
    "": False,
    "a:b:c": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_names_of_this_host_are_told_from_others(host):
    assert names_this_host(host) == HOSTS[host]


def test_without_tokens_a_page_from_elsewhere_gets_nothing(ask, served):
    rebound = {"Host": "pages.example:8470", "Content-Type": "application/json"}
    assert ask("POST", "/v1/match", b'{"keys": []}', rebound).code == "forbidden"
    assert ask("GET", "/v1/entries", headers=rebound).code == "forbidden"
    assert ask("POST", "/v1/delete", b'{"everything": true}').code == "invalid-request"  # JSON that is not called so
    assert Asking(served, over_socket=True)("POST", "/v1/match", b'{"keys": []}', rebound).status == 200


def test_with_tokens_the_service_has_any_name(parties):
    assert parties.ours("GET", "/v1/entries", headers={"Host": "kvstore.example"}).status == 200


def test_frames_of_others_end_a_batch(parties, held):
    own = key("own")
    assert parties.ours.put(own, sound(own)).status == 201
    asked = [str(own), str(held[0]), str(own)]
    assert parties.ours.post("/v1/frames/read", keys=asked).body == head_of(own, sound(own)) + sound(own)
