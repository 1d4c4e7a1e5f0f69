"""The page's card of answers, in a real browser, before a real proxy with a real cache."""

import pytest

from kvstore import MemoryTier, Tiers
from tests.connectors.proxy.answered import TOKENS, answered, fill
from tests.connectors.proxy.conftest import ADMIN, OURS
from tests.connectors.sidecar.browser import chromium
from tests.connectors.sidecar.serving import serving

NOTHING = "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    with answered(tmp_path_factory.mktemp("proxy") / "answers", TOKENS, Tiers([MemoryTier(1 << 20)])) as proxied:
        fill(proxied)
        yield proxied


@pytest.fixture
def page(browser, proxied):
    """Open for the admin; afterwards nobody else was asked, and nothing was complained of but the missing token."""
    browser.looks(1600)
    signs_in(browser, proxied, ADMIN)
    browser.until_says("#answers", "support")
    yield browser
    assert [url for url in browser.requests() if not url.startswith((proxied.served.url, "data:", "about:"))] == []
    assert [message for message in browser.console() if "401" not in message] == []
    browser.run("sessionStorage.clear()")


def signs_in(browser, proxied, token):
    browser.opens(proxied.served.url)
    browser.until(lambda: browser.find("#sign-in").is_displayed())
    browser.type("#token", token)
    browser.until_says("#state", "Live")


def rows(page):
    """By category, its cells by their columns."""
    cells = "(row) => [...row.cells].map((cell) => cell.innerText)"
    heads, *lines = page.run(f"return [...document.querySelectorAll('#answers tr')].map({cells})")
    return {line[0]: dict(zip(heads, line, strict=True)) for line in lines}


def test_categories_show_how_they_do(page, proxied):
    page.until(lambda: rows(page)["code"]["answered"] == "50%")
    code, support, legal = (rows(page)[name] for name in ("code", "support", "legal"))
    assert (code["requests"], code["same words"], code["entries"], code["threshold"]) == ("2", "1", "1", "none yet")
    assert (support["entries"], support["answered"]) == ("3", "0%")
    certified = proxied.answering.cache.certifiers.certified("support")
    assert support["labels"] == f"{certified.observed:,}"
    assert support["threshold"] == f"{certified.threshold:.3f}"
    assert support["wrong (at most)"] == f"{certified.wrong:.2%} ({certified.wrong_at_most:.2%})"
    assert (legal["answered"], legal["wrong (at most)"], legal["oldest"]) == (NOTHING,) * 3
    assert list(rows(page))[:2] == ["support", "code"]
    for said in ("same words\n20%", "other words\n0%", "computed\n80%", "4 answers of ", "kvstore answers ls TEXT"):
        assert said in page.text("#answers"), said


def test_the_card_is_refreshed(page, proxied):
    before = rows(page)["code"]["same words"]
    assert proxied.ask("Write a loop", "code")
    page.until(lambda: int(rows(page)["code"]["same words"]) > int(before))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_it_fits_and_is_readable(page, tmp_path, width, scheme):
    page.looks(width, scheme)
    assert page.overflow() == 0
    assert page.faint(4.5) == []
    page.photograph(tmp_path / f"{width}-{scheme}.png")


def test_a_tenant_is_not_shown_the_answers_of_all(browser, proxied):
    signs_in(browser, proxied, OURS)
    assert not browser.find("#answers-card").is_displayed()
    assert not any("categories" in url for url in browser.requests())
    browser.run("sessionStorage.clear()")


def test_a_service_that_keeps_no_answers_has_no_card(browser):
    with serving(Tiers([MemoryTier(1 << 20)])) as served:
        browser.opens(served.url)
        browser.until_says("#state", "Live")
        assert not browser.find("#answers-card").is_displayed()
        assert browser.console() == []
