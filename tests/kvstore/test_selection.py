"""Which chunks lie before and behind one, in which order they come and go: on forests of any shape."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kvstore import ChunkKey, ChunkTree, Entry, EntryFilter, Terms
from kvstore.testing import key


@st.composite
def forests(draw):
    """Entries whose parents come earlier, are none, or are not held; in any order."""
    names = [key(str(number)) for number in range(draw(st.integers(1, 20)))]
    entries = []
    for index, name in enumerate(names):
        parent = draw(st.none() | st.sampled_from([key("gone"), *names[:index]]))
        entries.append(Entry(name, 1, 0.0, 0.0, 0, parent=parent, pinned=draw(st.booleans())))
    return draw(st.permutations(entries))


@st.composite
def forests_and_keys(draw):
    entries = draw(forests())
    keys = draw(st.lists(st.sampled_from([entry.key for entry in entries])))
    return entries, keys


def ancestors(entries: list[Entry], of: ChunkKey) -> set[ChunkKey]:
    """The obvious way."""
    parents = {entry.key: entry.parent for entry in entries}
    found = set()
    while of in parents:
        found.add(of)
        of = parents[of]
    return found


@given(forests())
def test_prefix_comes_before_suffix_and_everything_comes_once(entries):
    order = [entry.key for entry in ChunkTree(entries).prefix_first()]
    assert sorted(order) == sorted(entry.key for entry in entries)
    place = {name: index for index, name in enumerate(order)}
    assert all(place.get(entry.parent, -1) < place[entry.key] for entry in entries)


@given(forests_and_keys())
def test_before_and_behind_are_what_the_parents_say(drawn):
    entries, keys = drawn
    tree = ChunkTree(entries)
    before = {entry.key: ancestors(entries, entry.key) for entry in entries}
    assert tree.with_all_before(keys) == set().union(*(before[each] for each in keys))
    assert tree.with_all_behind(keys) == {each for each, way in before.items() if way & set(keys)}
    for each in keys:
        assert [entry.key for entry in tree.path(each)] == sorted(before[each], key=lambda at: len(before[at]))
        assert all(tree.entry(child).parent == each for child in tree.children(each))
        assert tree.reachable(each) == (tree.path(each)[0].parent is None)


@given(forests_and_keys())
def test_deleting_leaves_no_suffix_without_its_prefix_and_nothing_that_is_to_be_kept(drawn):
    entries, keys = drawn
    keep = [entry.key for entry in entries if entry.pinned]
    doomed = ChunkTree(entries).deletable(keys, keep)
    left = {entry.key for entry in entries} - doomed
    assert left >= ChunkTree(entries).with_all_before(keep)
    held = {entry.key for entry in entries}
    assert all(entry.parent in left or entry.parent not in held for entry in entries if entry.key in left)


@given(forests_and_keys())
def test_unpinning_what_was_just_pinned_leaves_the_other_pins(drawn):
    entries, keys = drawn
    pinned = ChunkTree(entries).with_all_before(keys)
    tree = ChunkTree([Entry(e.key, 1, 0.0, 0.0, 0, parent=e.parent, pinned=e.key in pinned) for e in entries])
    for each in keys:
        left = pinned - tree.freed_by_unpinning(each)
        assert each not in left
        assert left == tree.with_all_before(left), "what is pinned is pinned with all before it"
        others = [other for other in keys if each not in ancestors(entries, other)]
        assert left >= tree.with_all_before(others) - tree.with_all_before([each])


def test_chunks_before_themselves_end():
    loop = [Entry(key("a"), 1, 0.0, 0.0, 0, parent=key("b")), Entry(key("b"), 1, 0.0, 0.0, 0, parent=key("a"))]
    tree = ChunkTree(loop)
    assert {entry.key for entry in tree.prefix_first()} == {key("a"), key("b")}
    assert len(tree.path(key("a"))) == 2
    assert not tree.reachable(key("a"))


def test_a_filter_takes_what_fits_all_of_it():
    entry = Entry(key("x"), 1, saved_at_s=10.0, used_at_s=20.0, hits=1, terms=Terms("acme", math.inf))
    assert EntryFilter().selects(entry)
    assert EntryFilter("acme", used_before_s=21, saved_before_s=11).selects(entry)
    assert not EntryFilter("").selects(entry)
    assert not EntryFilter(used_before_s=20).selects(entry)
    assert not EntryFilter(saved_before_s=10).selects(entry)
