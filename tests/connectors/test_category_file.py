"""Categories from a file: what it may say, what is refused and how, and that changes are taken while it runs."""

import logging
import math
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.category_file import CategoryFile, categories_of, parse_categories
from kvstore import InvalidRequest, TierUnavailable
from semantic_cache.category import Mode, Rule
from semantic_cache.policy import Policy
from semantic_cache.shipped import SHIPPED


def parsed(toml):
    return {category.name: category for category in parse_categories(toml.encode(), "a.toml")}


def refusal(toml):
    with pytest.raises(InvalidRequest) as raised:
        parse_categories(toml if isinstance(toml, bytes) else toml.encode(), "a.toml")
    return str(raised.value)


def test_an_empty_file_leaves_what_is_shipped():
    assert parse_categories(b"", "a.toml") == SHIPPED
    Policy(parse_categories(b"", "a.toml"))


def test_a_category_is_changed_where_the_file_says_so():
    medical = parsed('[category.medical]\nallowed = false\nttl_s = "12h"\n[category.docs]\nfloor = 1\n')["medical"]
    assert (medical.allowed, medical.ttl_s, medical.max_wrong) == (False, 43200, 0.002)


def test_a_new_category_says_what_it_is_for():
    found = parsed(
        '[category.recipes]\ndescription = "cooking"\nmode = "exact"\nttl_s = 0\nkeeps = ["current"]\n'
        'keywords = ["oven"]\nexamples = ["How long do I boil an egg?"]\n'
    )
    recipes = found["recipes"]
    assert (recipes.mode, recipes.ttl_s, recipes.keeps) == (Mode.EXACT, math.inf, frozenset({Rule.CURRENT}))
    assert list(found)[-2:] == ["recipes", "default"]
    assert "did you mean medical?" in refusal("[category.medcal]\nallowed = false")


def test_other_tables_of_settings_may_stand_beside_it():
    assert parse_categories(b'[store]\ntenant = "a"\n[category.docs]\nfloor = 0.9', "a.toml")[0].floor == 0.9
    assert "did you mean category?" in refusal("[categorys.docs]\nfloor = 0.9")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("floor = 1.5", "docs.floor is 1.5; allowed is a number from 0 to 1"),
        ("floor = nan", "docs.floor is nan"),
        ('floor = "high"', "category.docs.floor is 'high' (from a.toml); allowed is a number from 0 to 1"),
        ("floor = true", "category.docs.floor is True"),
        (f"floor = 1{'0' * 400}", "category.docs.floor is 1"),
        ("flor = 0.9", "category.docs.flor is not a setting; did you mean floor?"),
        ('name = "x"', "category.docs.name is not a setting"),
        ('mode = "semantics"', "allowed is exact or semantic"),
        ("mode = []", "allowed is exact or semantic"),
        ('allowed = "no"', "category.docs.allowed is 'no'"),
        ('ttl_s = "a week"', "category.docs.ttl_s is 'a week'"),
        ("ttl_s = -1", "docs.ttl_s is -1.0"),
        ("ttl_stretch = 0.5", "docs.ttl_stretch is 0.5; allowed is a number from 1 to 1000"),
        ("quota = 25", "docs.quota is 25.0"),
        ("max_wrong = 1", "docs.max_wrong is 1.0; allowed is a number from 0 to 0.5"),
        ('keeps = ["privacy"]', "allowed is a list of personal, actions, current"),
        ('keywords = "one"', "allowed is a list of words"),
        ('examples = ["", "two"]', "allowed is a list of queries"),
        ("examples = [1]", "allowed is a list of queries"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(line, said):
    assert said in refusal(f"[category.docs]\n{line}")


@pytest.mark.parametrize(
    "file", [b"\xff", b"[category", b"category = 3", b"[category]\ndocs = 3", b"x" * (1 << 20) + b"x", b"[[category]]"]
)
def test_what_is_no_table_of_categories_is_refused(file):
    assert "a.toml" in refusal(file)


def test_a_name_that_is_none_is_refused():
    assert "allowed are up to 64 of a-z" in refusal('[category."My Docs"]\ndescription = "x"')


@given(st.binary(max_size=200) | st.text(alphabet='[]category.docs=\n"0.9', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(file):
    try:
        parse_categories(file, "a.toml")
    except InvalidRequest:
        return


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["docs", "current", "new", "No"]),
        st.dictionaries(st.sampled_from(["floor", "ttl_s", "mode", "keeps", "examples", "description"]), values)
        | values,
    )
)
def test_any_table_is_read_or_refused(table):
    try:
        categories_of(table, "a.toml")
    except InvalidRequest:
        return


class Taken:
    """What a category file hands on, and how often."""

    def __init__(self):
        self.times, self.refuse = 0, None

    def __call__(self, categories):
        if self.refuse is not None:
            raise self.refuse
        self.docs_floor = next(category.floor for category in categories if category.name == "docs")
        self.times += 1


@pytest.fixture
def taken():
    return Taken()


@pytest.fixture
def file(tmp_path, taken):
    path = tmp_path / "categories.toml"
    path.write_text("[category.docs]\nfloor = 0.5\n")
    file = CategoryFile(path, taken)
    file.load()
    return file


def write(file, floor):
    file.state.path.write_text(f"[category.docs]\nfloor = {floor}\n")


def test_a_change_is_taken_once_it_has_been_seen_twice(file, taken):
    assert taken.docs_floor == 0.5
    write(file, 0.6)
    assert not file.look()
    assert file.look()
    assert not file.look()
    assert (taken.docs_floor, taken.times) == (0.6, 2)
    assert file.state.problem is None


def test_a_file_that_is_being_written_is_not_taken(file, taken):
    for part in ("", "[category.docs]\n", "[category.docs]\nfloor = 0.", "[category.docs]\nfloor = 0.75\n"):
        file.state.path.write_text(part)
        assert not file.look()
    assert taken.docs_floor == 0.5
    assert file.look()
    assert taken.docs_floor == 0.75


def test_a_broken_file_changes_nothing_and_says_so_once(file, taken, caplog):
    write(file, 7)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert not file.look()
    assert taken.times == 1
    assert re.search(r"docs\.floor is 7\.0; allowed", file.state.problem)
    assert len(caplog.records) == 1
    write(file, 0.7)
    assert [file.look() for _ in range(2)] == [False, True]
    assert (taken.docs_floor, file.state.problem) == (0.7, None)


def test_a_file_that_is_gone_changes_nothing_until_it_is_back(file, taken):
    path = file.state.path
    path.rename(path.with_suffix(".old"))
    file.look()
    assert "cannot be read" in file.state.problem
    path.with_suffix(".old").rename(path)
    file.look()
    file.look()
    assert file.state.problem is None
    assert taken.times == 1, "it says what it said before"


def test_what_cannot_be_taken_now_is_asked_again(file, taken):
    taken.refuse = TierUnavailable("the embedder does not answer")
    write(file, 0.8)
    assert [file.look() for _ in range(3)] == [False, False, False]
    assert "does not answer" in file.state.problem
    taken.refuse = None
    assert file.look()
    assert taken.docs_floor == 0.8


def test_a_file_with_the_same_content_is_not_taken_again(file, taken):
    os.utime(file.state.path, (1, 1))
    file.look()
    file.look()
    assert taken.times == 1


def test_a_missing_file_is_refused_at_the_start(tmp_path, taken):
    with pytest.raises(InvalidRequest, match="cannot be read"):
        CategoryFile(tmp_path / "none.toml", taken).load()


def test_it_looks_by_itself_until_it_is_closed(tmp_path, taken):
    path = tmp_path / "categories.toml"
    path.write_text("")
    file = CategoryFile(path, taken, look_every_s=0.01)
    file.load()
    file.start()
    path.write_text("[category.docs]\nfloor = 0.9\n")
    deadline = 2000
    while taken.times < 2 and deadline:
        file._stopped.wait(0.01)
        deadline -= 1
    file.close()
    assert taken.docs_floor == 0.9
