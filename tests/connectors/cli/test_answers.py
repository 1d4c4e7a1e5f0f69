"""`kvstore answers`, asked of a real proxy with a real cache."""

from pathlib import Path

import pytest

from kvstore import Metrics, NoTier, Tiers
from tests.connectors.cli.conftest import Run, json_of
from tests.connectors.proxy.answered import HOSTILE, answered, fill
from tests.connectors.proxy.conftest import ADMIN, OURS, THEIRS
from tests.connectors.sidecar.serving import serving


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Shared by the tests that only look."""
    with answered(tmp_path_factory.mktemp("proxy") / "answers") as proxied:
        fill(proxied)
        yield proxied


@pytest.fixture
def own(tmp_path: Path):
    """For tests that drop."""
    with answered(tmp_path / "answers") as proxied:
        fill(proxied)
        yield proxied


def asked(run: Run, proxied, *arguments, token: str = ADMIN):
    return run("answers", *arguments, "--url", proxied.served.url, "--token", token)


def test_categories_say_what_was_counted_and_how_sure_it_is(run: Run, filled):
    lines = {line["category"]: line for line in json_of(asked(run, filled, "categories", "--json"))}
    code, support = lines["code"], lines["support"]
    assert (code["hits_exact"], code["misses"], code["hit_rate"], code["entries"]) == (1, 1, 0.5, 1)
    assert (code["threshold"], code["wrong"], code["wrong_at_most"]) == (None, None, None)
    assert support["entries"] == 3
    assert support["size_bytes"] > 0
    assert 0 < support["threshold"] <= 0.97
    assert 0 <= support["wrong"] <= support["wrong_at_most"] <= 0.01
    assert lines["legal"]["hit_rate"] is None
    table = asked(run, filled, "categories").stdout
    assert "50.0%" in table
    assert "none yet" in table
    assert "only the same words are answered" in table
    assert f"{support['threshold']:.3f}" in table
    assert f"{support['wrong_at_most']:.2%}" in table


def test_answers_are_listed_and_searched(run: Run, filled):
    table = asked(run, filled, "ls").stdout
    for part in ("How do I return parcel 0?", "Answer 0 to: Write a loop", "support", "theirs", "plain", "in 2 d"):
        assert part in table
    assert len(json_of(asked(run, filled, "ls", "--json"))) == 4
    assert [each["tenant"] for each in json_of(asked(run, filled, "ls", "PARCEL", "--json"))] == ["ours", "ours"]
    assert [each["id"] for each in json_of(asked(run, filled, "ls", "--category", "code", "--json"))] == [
        each["id"] for each in json_of(asked(run, filled, "ls", "loop", "--tenant", "ours", "--json"))
    ]
    assert json_of(asked(run, filled, "ls", "--tenant", "", "--json")) == []
    assert json_of(asked(run, filled, "ls", "--older-than", "1h", "--json")) == []
    assert "holds no answers that fit" in asked(run, filled, "ls", "nothing like that").stdout


def test_a_limit_says_that_there_may_be_more(run: Run, filled):
    result = asked(run, filled, "ls", "--limit", "3")
    assert "These are the oldest 3, and there may be more: --limit 6 shows more." in result.stdout
    assert "there may be more" not in asked(run, filled, "ls", "--limit", "5").stdout


def test_more_than_a_page_is_listed(run: Run, filled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("connectors.cli.answer_service._PAGE", 1)
    assert len(json_of(asked(run, filled, "ls", "--json"))) == 4
    assert len(json_of(asked(run, filled, "ls", "--limit", "3", "--json"))) == 3
    assert len(json_of(asked(run, filled, "ls", "loop", "--json"))) == 1


def test_what_others_wrote_does_nothing_to_a_terminal(run: Run, filled):
    (answer,) = json_of(asked(run, filled, "ls", "onerror", "--json"))
    for shown in (asked(run, filled, "ls", "onerror").stdout, asked(run, filled, "show", answer["id"]).stdout):
        assert "\x1b" not in shown
        assert HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in shown


def test_one_answer_is_shown(run: Run, filled):
    (answer,) = json_of(asked(run, filled, "ls", "loop", "--json"))
    assert json_of(asked(run, filled, "show", answer["id"], "--json")) == answer
    shown = asked(run, filled, "show", answer["id"]).stdout
    for part in ("Write a loop", "Answer 0 to: Write a loop", "code", "tenant:ours", "ago, in 0."):
        assert part in shown
    result = asked(run, filled, "show", 10**6)
    assert result.exit_code == 2
    assert "holds no answer 1000000: see `kvstore answers ls`" in result.stderr


def test_a_tenant_sees_its_own_and_no_categories(run: Run, filled):
    assert [each["tenant"] for each in json_of(asked(run, filled, "ls", "--json", token=THEIRS))] == ["theirs"]
    (answer,) = json_of(asked(run, filled, "ls", "loop", "--json"))
    assert "holds no answer" in asked(run, filled, "show", answer["id"], token=THEIRS).stderr
    for refused in (
        asked(run, filled, "categories", token=OURS),
        asked(run, filled, "ls", "--tenant", "theirs", token=OURS),
    ):
        assert refused.exit_code == 2
        assert "what is of all tenants takes the admin's" in refused.stderr
    assert "this token is not known" in asked(run, filled, "ls", token="a token of nobody").stderr


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--text", "PARCEL"], ["Write a loop", HOSTILE]),
        (["--category", "code"], ["How do I return parcel 0?", "How do I return parcel 1?", HOSTILE]),
        (["--tenant", "ours", "--text", "loop"], ["How do I return parcel 0?", "How do I return parcel 1?", HOSTILE]),
        (["--older-than", "0s"], []),
        (["--all"], []),
    ],
)
def test_filters_choose_what_is_dropped(run: Run, own, filters: list[str], left: list[str]):
    dry = asked(run, own, "drop", *filters, "--dry-run")
    assert f"{4 - len(left)} answer" in dry.stdout
    assert "would be dropped" in dry.stdout
    assert "Answer 0 to: " in dry.stdout
    assert len(own.held()) == 4
    assert json_of(asked(run, own, "drop", *filters, "--json")) == {"answers": 4 - len(left), "dropped": True}
    assert own.held() == left


def test_what_is_dropped_is_computed_again(run: Run, own):
    assert own.ask("Write a loop", "code")
    assert ": dropped" in asked(run, own, "drop", "--text", "loop").stdout
    assert not own.ask("Write a loop", "code")


def test_a_tenant_drops_its_own(run: Run, own):
    assert json_of(asked(run, own, "drop", "--all", "--json", token=THEIRS)) == {"answers": 1, "dropped": True}
    assert len(own.held()) == 3


def test_a_terminal_is_asked_and_no_means_no(run: Run, own, monkeypatch: pytest.MonkeyPatch):
    questions = []
    monkeypatch.setattr("connectors.cli.answers._is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text, **_: questions.append(text))
    result = asked(run, own, "drop", "--category", "support")
    assert questions == [f"Drop 3 answers of {own.served.url}?"]
    assert "How do I return parcel 1?" in result.stdout
    assert "3 answers: fit, nothing is dropped." in result.stdout
    assert len(own.held()) == 4
    asked(run, own, "drop", "--category", "support", "--yes")
    assert len(questions) == 1
    assert len(own.held()) == 1
    asked(run, own, "drop", "--category", "support")
    assert len(questions) == 1


@pytest.mark.parametrize("filters", [[], ["--text", ""]])
def test_without_a_filter_nothing_goes_and_the_filters_are_named(run: Run, filled, filters: list[str]):
    result = asked(run, filled, "drop", "--yes", *filters)
    assert result.exit_code == 2
    for name in ("--text", "--category", "--tenant", "--older-than", "--all"):
        assert name in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ls", "--older-than", "a week"], "such as 45s, 90min, 12h, 7d"),
        (["drop", "--category", "no such name!"], "category"),
        (["ls", "a" * 501], "text"),
    ],
)
def test_filters_that_make_no_sense_are_errors(run: Run, filled, arguments: list[str], said: str):
    result = asked(run, filled, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_service_of_these_settings_is_asked_over_its_socket(run: Run, filled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_SIDECAR_SOCKET", str(filled.served.socket))
    monkeypatch.setenv("KVSTORE_SIDECAR_ADMIN_TOKEN", ADMIN)
    assert len(json_of(run("answers", "ls", "--json"))) == 4
    monkeypatch.setenv("KVSTORE_SIDECAR_TOKEN", THEIRS)
    assert len(json_of(run("answers", "ls", "--json"))) == 1
    monkeypatch.setenv("KVSTORE_SIDECAR_URL", filled.served.url)
    assert len(json_of(run("answers", "ls", "--json"))) == 1


def test_the_admin_token_goes_to_no_service_that_is_named(run: Run, filled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVSTORE_SIDECAR_ADMIN_TOKEN", ADMIN)
    assert "no token was given" in run("answers", "ls", "--url", filled.served.url).stderr


def test_a_service_without_a_proxy_says_what_to_do(run: Run):
    with serving(Tiers([NoTier()]), Metrics()) as served:
        for command in (["categories"], ["ls"], ["show", "1"], ["drop", "--all"]):
            result = run("answers", *command, "--url", served.url)
            assert result.exit_code == 2
            assert "keeps no answers" in result.stderr
            assert "KVSTORE_PROXY_UPSTREAM=" in result.stderr


def test_where_nobody_serves_it_says_so(run: Run, tmp_path: Path):
    result = run("answers", "ls", "--url", f"unix:{tmp_path}/nothing.sock")
    assert result.exit_code == 2
    assert "is `kvstore serve` running there" in result.stderr


@pytest.mark.parametrize("command", ["categories", "ls", "show", "drop"])
def test_help_of_every_command_has_an_example(run: Run, command: str):
    result = run("answers", command, "--help")
    assert result.exit_code == 0
    assert f"kvstore answers {command}" in result.stdout
