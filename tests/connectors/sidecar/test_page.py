"""The page, in a real browser, before a real server with real frames."""

import http.client
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from codec import KVSpec, LayerGroup, codec_from
from connectors.remote.opening import open_remote
from connectors.sidecar.callers import Tokens
from connectors.sidecar.history import History
from kvstore import DiskTier, KVStore, MemoryTier
from tests.connectors.remote.redis_servers import redis_server
from tests.connectors.sidecar.browser import chromium
from tests.connectors.sidecar.serving import serving
from tests.kv import kv_of_numbers

HOSTILE = '<img src=x onerror="document.title=1">'
GROUPS = (LayerGroup((0, 1), kv_heads=2, key_dim=8, value_dim=8),)
CHUNK_TOKENS = 16
PROMPTS = {
    ("acme/small", "acme"): range(64),
    ("acme/large", ""): range(100, 148),
    (HOSTILE, HOSTILE): range(200, 232),
}
"""The tokens of a prompt for each model and tenant: nine chunks in all."""
PASSWORD = "secret-of-tests"
ADMIN, ACME = "admin-token-of-tests", "acme-token-of-tests!"
TOKENS = Tokens(ADMIN, {"acme": ACME})


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@contextmanager
def filled_store(path: Path):
    """PROMPTS saved, the first one loaded, and one chunk in quarantine."""
    with KVStore([MemoryTier(1 << 20), DiskTier(path, 1 << 20)], codec_from("lossless"), CHUNK_TOKENS) as store:
        for (model, tenant), tokens in PROMPTS.items():
            spec = KVSpec(model, "r1", "bfloat16", GROUPS)
            store.save(store.identity(spec, tenant), tokens, kv_of_numbers(spec, len(tokens)))
        store.load(store.match(identity_of(store, "acme/small", "acme"), PROMPTS["acme/small", "acme"]))
        last = keys_of(store, HOSTILE, HOSTILE)[-1]
        store.tier.quarantine(last, f"section 1.keys is not what it was {HOSTILE}")
        yield store


def identity_of(store, model, tenant):
    return store.identity(KVSpec(model, "r1", "bfloat16", GROUPS), tenant)


def keys_of(store, model, tenant):
    return store.match(identity_of(store, model, tenant), PROMPTS[model, tenant]).keys


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The store, the service that has it, an hour of traffic, and what two engines reported."""
    with filled_store(tmp_path_factory.mktemp("store")) as store, serving(store.tier, store.metrics) as served:
        remember_an_hour(served.context, store.metrics)
        counts = {"tokens_loaded": 6000, "tokens_blended": 1500, "tokens_computed": 2500, "tokens_not_loaded": 100}
        served.context.reports.take("acme", "engine-a:1", "acme/small", counts)
        served.context.reports.take("", "engine-b:2", HOSTILE, {"tokens_loaded": 0, "tokens_computed": 4000})
        yield served, store


def remember_an_hour(context, metrics):
    """Of the same traffic, a sample every five seconds."""
    now_s, at = time.time(), iter(range(-719, 1))
    context.history = History(context.service, clock=lambda: now_s + 5 * next(at))
    for _ in range(720):
        metrics.count("chunks_asked", 50)
        metrics.count("chunks_matched", 40)
        metrics.count("frames_given", 35)
        metrics.count("frames_missed", 2)
        context.history.sample()


@pytest.fixture
def page(browser, served):
    """The page, open and live; afterwards: nobody else was asked, and nothing was complained of."""
    browser.looks(1600)
    browser.opens(served[0].url)
    browser.until_says("#state", "Live")
    yield browser
    assert [url for url in browser.requests() if not url.startswith((served[0].url, "data:", "about:"))] == []
    assert browser.console() == []
    assert browser.run("return document.title") == "kvstore sidecar"


def test_everything_is_there(page, served):
    _, store = served
    first = str(keys_of(store, "acme/small", "acme")[0])[:12]
    parts = {
        "#tiers": ["memory", "not durable", "disk", "durable", "of 1 MiB", "%"],
        "#figures": ["chunks found\n80%", "frames given", "held durably", "corrupt chunks"],
        "#traffic": ["Chunks of prompts, per second", "asked for\n10", "held\n8", "Held, by tier"],
        "#reuse": ["exact prefix\n36%", "blended\n12%", "computed\n52%", "acme/small 8,500 53% 18% 29%"],
        "#engines": ["engine-a:1", "6,000", "1,500", "2,500", "engine-b:2", "silent for"],
        "#hottest": [first, "acme/small", "acme"],
        "#biggest": [first, "acme/large", "none named", "KiB"],
        "#damage": ["section 1.keys is not what it was"],
        "#about": ["version ", "up "],
    }
    for selector, said in parts.items():
        for part in said:
            assert part in page.text(selector), (selector, part)
    assert page.run("return document.querySelectorAll('#traffic path.curve[d]').length") >= 6


def test_names_of_others_are_shown_as_they_are_and_do_nothing(page):
    for selector in ("#reuse", "#engines", "#biggest", "#damage"):
        assert HOSTILE in page.text(selector)
    page.type("#query", "IMG src")
    page.until_says("#found-title", "1 chunk that fit “IMG src”")
    assert page.text("#found-view").count(HOSTILE) == 2
    page.press("#found-view [data-key]")
    page.until_says("#found-view", "every checksum is right", f"{HOSTILE}, revision r1")
    assert page.run("return document.querySelectorAll('img').length") == 0


def test_nothing_is_searched_for_and_all_is_listed(page):
    page.type("#query", "")
    page.until_says("#found-title", "8 chunks")
    assert page.run("return document.querySelectorAll('#found-view tbody tr').length") == 8
    for part in ("acme/small", "[48, 64)", "lossless", "never", "none named"):
        assert part in page.text("#found-view")
    page.run("sort.value = 'hits'; sort.dispatchEvent(new Event('change'))")
    page.until(lambda: "acme/small" in page.text("#found-view tbody tr:first-child"))
    page.press("#found-close")
    assert not page.find("#found").is_displayed()


def test_text_filters_what_is_listed(page):
    page.type("#query", "large")
    page.until_says("#found-title", "3 chunks that fit “large”")
    assert "acme/small" not in page.text("#found-view")
    page.type("#query", "no such model")
    page.until_says("#found-title", "No chunks that fit “no such model”")


def test_a_key_shows_its_chunk(page, served):
    first, second, *_ = map(str, keys_of(served[1], "acme/small", "acme"))
    page.type("#query", first[:9].upper())
    page.until_says(
        "#found-view", first, "every checksum is right", "memory, disk", "[0, 16)", "times smaller", "[0, 2)"
    )
    page.press(f"#found-view [data-key='{second}']")
    page.until_says("#found-view", second, "[16, 32)")
    page.driver.back()
    page.until_says("#found-title", first[:12])


def test_two_keys_ask_why_one_is_not_reused_for_the_other(page, served):
    a, b = (str(keys_of(served[1], *of)[0]) for of in list(PROMPTS)[:2])
    page.type("#query", f"{a} {b[:10]}")
    page.until_says(
        "#found-view", "Neither is ever reused for the other", "model", "acme/small", "acme/large", "tenant"
    )


def test_keys_typed_wrong_are_answered_with_what_to_do(browser, page):
    page.type("#query", "0" * 12)
    page.until_says("#found-view", "no chunk has a key that begins with '000000000000'")
    assert [message for message in page.console() if "404" not in message] == []


def test_an_address_with_a_search_finds_it_again(page, served):
    page.opens(f"{served[0].url}/#q=large")
    page.until_says("#found-title", "3 chunks")
    assert page.find("#query").get_attribute("value") == "large"


def test_it_refreshes_while_it_is_looked_at_and_keeps_the_focus(page, served):
    page.run("document.querySelector('#engines .box').focus()")
    served[0].context.reports.take("", "engine-c:3", "acme/large", {"tokens_loaded": 12345})
    page.until_says("#engines", "engine-c:3", "12,345")
    assert page.run("return document.activeElement.getAttribute('aria-label')") == "Engines"


def test_paused_it_stays_as_it_is(page, served):
    page.press("#pause")
    assert page.text("#state") == "Paused"
    page.requests()
    served[0].context.reports.take("", "engine-d:4", "acme/large", {"tokens_loaded": 1})
    time.sleep(6)
    assert page.requests() == []
    page.press("#pause")
    page.until_says("#engines", "engine-d:4")
    page.until_says("#state", "Live")


def test_nobody_looks_and_nothing_is_asked(page):
    page.run("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    time.sleep(1)
    page.requests()
    time.sleep(6)
    assert page.requests() == []
    page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.until(page.requests)


def test_charts_are_read_with_the_arrow_keys(page):
    label = "return document.querySelector('#traffic svg[tabindex]').getAttribute('aria-label')"
    assert "Latest: asked for 10, held 8" in page.run(label)
    page.run("document.querySelector('#traffic svg[tabindex]').focus()")
    page.driver.switch_to.active_element.send_keys("\ue012")  # left
    assert "At " in page.run(label)
    assert page.run("return document.querySelectorAll('#traffic .mark').length") == 1


def test_all_is_reached_with_the_keyboard_and_the_focus_shows(page):
    page.find("#query").click()
    seen = []
    for _ in range(40):
        page.driver.switch_to.active_element.send_keys("\ue004")  # tab
        seen.append(
            page.run(
                "const at = document.activeElement; const of = at.closest('[aria-labelledby], search, header, body');"
                "return [of.getAttribute('aria-labelledby') ?? of.localName, getComputedStyle(at).outlineStyle]"
            )
        )
    places = {place for place, _ in seen}
    assert {"search", "traffic-title", "engines-title", "hottest-title", "biggest-title"} <= places
    assert {outline for place, outline in seen if place != "body"} == {"solid"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits_and_is_readable(page, served, tmp_path, width, scheme):
    a, b = (str(keys_of(served[1], *of)[0]) for of in list(PROMPTS)[:2])
    page.looks(width, scheme)
    for name, text, title in ("list", "", "8 chunks"), ("chunk", a, a[:12]), ("why", f"{a} {b}", "Why one is not"):
        page.type("#query", text)
        page.until_says("#found-title", title)
        assert page.overflow() == 0
        assert page.faint(4.5) == []
        page.photograph(tmp_path / f"{width}-{scheme}-{name}.png")
    page.press("#found-close")
    page.photograph(tmp_path / f"{width}-{scheme}.png")


def test_nothing_moves_for_who_does_not_want_that(page):
    page.looks(1600, motion="reduce")
    assert page.run("return getComputedStyle(document.querySelector('.bar .part')).transitionDuration") == "0s"


def test_tiers_show_how_they_do_and_which_one_is_down(browser, tmp_path):
    with redis_server("--maxmemory", "64mb") as redis:
        tiers = [MemoryTier(1 << 20), open_remote(f"redis://:{PASSWORD}@127.0.0.1:{redis.port}", deadline_s=5.0)]
        redis.client.config_set("requirepass", PASSWORD)
        with (
            KVStore(tiers, codec_from("lossless"), CHUNK_TOKENS) as store,
            serving(store.tier, store.metrics) as served,
        ):
            spec = KVSpec("acme/small", "r1", "bfloat16", GROUPS)
            identity = store.identity(spec)
            store.save(identity, range(64), kv_of_numbers(spec, 64))
            tiers[1].flush(20.0)
            for _ in range(8):
                store.load(store.match(identity, range(64)))
            browser.opens(served.url)
            browser.until_says("#state", "Live")
            browser.until_says("#tiers", "memory", "4 chunks · hits 89% of 36 asked for · p50 ", " ms, p99 ")
            browser.until_says("#tiers", "remote", "of 64 MiB", "4 chunks · hits 0% of 4 asked for")
            redis.kill()
            browser.until_says(
                "#tiers", "not available", "It does not answer, and prompts are served without it: redis://"
            )
            assert PASSWORD not in browser.run("return document.documentElement.outerHTML")
            assert browser.faint(4.5) == []
            browser.looks(360)
            assert browser.overflow() == 0
            browser.looks(1600)
            browser.photograph(tmp_path / "tiers.png")


def test_an_empty_store_says_what_to_do(browser, tmp_path):
    tiers = KVStore([DiskTier(tmp_path, 1 << 20)], codec_from("lossless"))
    with tiers as store, serving(store.tier, store.metrics) as served:
        browser.opens(served.url)
        browser.until_says("#state", "Live")
        browser.until_says("#engines", f"KVSTORE_SIDECAR_URL={served.url}")
        browser.until_says("#traffic", "second sample")
        browser.until_says("#biggest", "Nothing is held yet", "kvstore warm")
        browser.until_says("#damage", "kvstore verify")
        browser.type("#query", "")
        browser.until_says("#found-view", "Nothing is held yet")
        assert browser.console() == []


def test_a_service_that_is_gone_is_noticed_and_so_is_its_return(browser, tmp_path):
    with filled_store(tmp_path) as store:
        with serving(store.tier, store.metrics) as served:
            browser.opens(served.url)
            browser.until_says("#state", "Live")
        browser.until_says("#state", "Offline")
        assert "does not answer. What is shown is as of" in browser.text("#notice")
        browser.photograph(tmp_path / "offline.png")
        assert "acme/small" in browser.text("#biggest")
        assert "held durably" in browser.text("#figures")
        with serving(store.tier, store.metrics, port=urlsplit(served.url).port):
            browser.until_says("#state", "Live")
            assert not browser.find("#notice").is_displayed()


def test_a_token_is_asked_for_kept_in_the_tab_and_never_in_an_address(browser, tmp_path):
    with filled_store(tmp_path) as store, serving(store.tier, store.metrics, TOKENS) as served:
        browser.opens(served.url)
        browser.until(lambda: browser.find("#sign-in").is_displayed())
        assert browser.find("#token").get_attribute("type") == "password"
        assert not browser.find("#board").is_displayed()
        browser.photograph(tmp_path / "sign-in.png")
        browser.type("#token", "not-the-token-at-all")
        browser.until_says("#sign-in-reason", "not known")
        browser.type("#token", ADMIN)
        browser.until_says("#state", "Live")
        browser.until_says("#biggest", "acme/large")
        assert browser.run("return [localStorage.length, document.cookie, Object.values(sessionStorage)]") == [
            0,
            "",
            [ADMIN],
        ]
        assert not any("token-of" in url for url in [*browser.requests(), browser.driver.current_url])
        browser.press("#sign-out")
        browser.until(lambda: browser.find("#sign-in").is_displayed())
        assert browser.run("return sessionStorage.length") == 0
        assert "acme" not in browser.run("return document.body.textContent")
        assert [message for message in browser.console() if "401" not in message] == []


def test_a_tenant_sees_its_own(browser, tmp_path):
    with filled_store(tmp_path) as store, serving(store.tier, store.metrics, TOKENS) as served:
        served.context.reports.take("acme", "engine-a:1", "acme/small", {"tokens_loaded": 5})
        served.context.reports.take("", "engine-b:2", "acme/large", {"tokens_loaded": 5})
        browser.opens(served.url)
        browser.until(lambda: browser.find("#sign-in").is_displayed())
        browser.type("#token", ACME)
        browser.until_says("#state", "Live")
        browser.until_says("#biggest", "acme/small")
        browser.type("#query", "")
        browser.until_says("#found-title", "4 chunks")
        assert "takes the admin's token" in browser.text("#figures")
        assert not browser.find("#tiers").is_displayed()
        shown = browser.run("return document.body.textContent")
        assert "engine-a:1" in shown
        assert "engine-b:2" not in shown
        assert "acme/large" not in shown
        browser.press("#sign-out")
        browser.until(lambda: browser.find("#sign-in").is_displayed())


def test_too_many_requests_are_waited_for(browser, tmp_path):
    with filled_store(tmp_path) as store, serving(store.tier, store.metrics, requests_per_s=1) as served:
        browser.opens(served.url)
        browser.until_says("#state", "Busy")
        assert "asks for patience" in browser.text("#notice")
        assert "memory" in browser.text("#tiers")


def asked(url, method, path, headers=None):
    """The server's answer: status, headers by their names in small letters, body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def test_files_of_the_page_come_with_a_strict_policy_and_are_kept(served):
    for path, media_type in {
        "/": "text/html",
        "/page/style.css": "text/css",
        "/page/main.js": "text/javascript",
    }.items():
        status, headers, body = asked(served[0].url, "GET", path)
        assert (status, headers["content-type"]) == (200, f"{media_type}; charset=utf-8")
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-cache"
        known = {"If-None-Match": f'W/"x", {headers["etag"]}'}
        assert asked(served[0].url, "GET", path, known)[::2] == (304, b"")
        status, of_head, nothing = asked(served[0].url, "HEAD", path)
        assert (status, nothing, of_head["content-length"]) == (200, b"", str(len(body)))


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "%2e%2e/app.py", "../app.py", "main.js%00", "", "."])
def test_no_other_file_is_to_be_had(served, name):
    status, headers, _ = asked(served[0].url, "GET", f"/page/{name}")
    assert (status, headers["content-type"]) == (404, "application/problem+json")


def test_the_page_names_no_other_place():
    files = Path(__file__).parents[3] / "connectors" / "sidecar" / "page"
    for file in files.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "innerHTML" not in text


def test_scripts_that_are_none_of_the_page_do_not_run(browser, served):
    browser.opens(served[0].url)
    browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))")
    browser.run(
        "document.body.append(document.createElement('p')); document.body.lastChild.innerHTML = arguments[0]", HOSTILE
    )
    browser.until(lambda: any("Content Security Policy" in message for message in browser.console()))
    assert browser.run("return document.title") == "kvstore sidecar"
