"""`kvstore verify`: checks every frame and profile of a store, and drops the damaged ones when asked to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from codec import Lossless
from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption, PlaceOption
from connectors.cli.output import print_json, print_line, print_table, progress
from connectors.cli.place import Place, open_reader, open_writer, place_of
from connectors.inspection.holdings import profile_problem
from connectors.remote.remote_tier import RemoteTier
from kvstore import Checked, ChunkKey, DiskReader, KVStore


@dataclass(frozen=True)
class _Profiles:
    """`whole` counts those that passed; `damaged` says by fingerprint what is wrong with each of the others.

    `absent` are the fingerprints that whole frames name and the directory does not hold.
    """

    whole: int
    damaged: dict[str, str]
    absent: list[str]


@dataclass(frozen=True)
class _Verdict:
    """`whole` and `whole_bytes` count the frames that passed, `unreachable` those of them whose prefix is gone."""

    whole: int
    whole_bytes: int
    unreachable: int
    damaged: list[Checked]
    profiles: _Profiles


def verify(
    store: PlaceOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged. No other process may write a directory.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify every frame and profile held, and the index against them. The exit code is 1 when one is damaged.

    A frame is whole when every checksum is right and it is the chunk, of the size and behind the chunk, that
    the index says. A damaged frame is never delivered, verified or not: whoever meets it drops it and computes. With
    --repair it is dropped now. What was dropped earlier, and why, is listed at the end. Frames whose
    profile is damaged or not there are whole, and of use only to who has that profile elsewhere.

    Of a remote store every value is read: `torn` ones lack bytes or have other ones, `wrong` ones are another
    chunk's, `foreign` ones none of ours. Nothing is deleted there without --repair.

    Example: kvstore verify --repair
    """
    place = place_of(store)
    with open_reader(place) as reader:
        quarantined = reader.quarantined()
        if not repair:
            verdict = _check(reader, False, as_json)
    if repair:
        with open_writer(place) as writer:
            verdict = _check(writer, True, as_json)
            for fingerprint in verdict.profiles.damaged:
                writer.drop_profile(fingerprint)
    if as_json:
        print_json(_as_json(verdict, repair, quarantined))
    else:
        _print(place, verdict, repair, quarantined)
    if verdict.damaged or verdict.profiles.damaged:
        raise typer.Exit(1)


def _check(tier: DiskReader | RemoteTier, repair: bool, hidden: bool) -> _Verdict:
    """What `KVStore.check` says of every frame, and what is wrong with the profiles."""
    whole, whole_bytes, unreachable = 0, 0, 0
    damaged: list[Checked] = []
    needed: dict[str, None] = {}  # fingerprints, in the order they are met
    before = tier.quarantined().keys()
    with progress(hidden) as bar:
        task = bar.add_task("verifying", total=tier.size_bytes)
        for checked in KVStore([tier], Lossless()).check(repair):
            if checked.problem is not None:
                damaged.append(checked)
            else:
                whole, whole_bytes = whole + 1, whole_bytes + checked.size_bytes
                unreachable += not checked.reachable
                if checked.profile:
                    needed[checked.profile] = None
            bar.advance(task, checked.size_bytes)
    met = before | {str(bad.key) for bad in damaged}
    damaged += [  # damaged where they say what they are, so that nothing lists them
        Checked(ChunkKey.from_hex(key), 0, str(note["reason"]), tier.name)
        for key, note in tier.quarantined().items()
        if key not in met
    ]
    return _Verdict(whole, whole_bytes, unreachable, damaged, _check_profiles(tier, needed))


def _check_profiles(tier: DiskReader | RemoteTier, needed: Iterable[str]) -> _Profiles:
    problems = {fingerprint: profile_problem(tier, fingerprint) for fingerprint in tier.profiles()}
    if isinstance(tier, RemoteTier):
        problems |= tier.rejected_profiles()
    damaged = {fingerprint: problem for fingerprint, problem in problems.items() if problem}
    absent = [fingerprint for fingerprint in needed if fingerprint not in problems]
    return _Profiles(len(problems) - len(damaged), damaged, absent)


Quarantined = dict[str, dict[str, str | float]]


def _print(place: Place, verdict: _Verdict, repair: bool, quarantined: Quarantined) -> None:
    print_line(f"{place}: {verdict.whole} frames of {format_bytes(verdict.whole_bytes)} are whole.")
    if verdict.damaged:
        done = "and are dropped" if repair else "and would be dropped by --repair"
        print_line(f"{len(verdict.damaged)} are damaged {done}:")
        rows = [(str(bad.key)[:12], format_bytes(bad.size_bytes), str(bad.problem)) for bad in verdict.damaged]
        print_table(["key", "size>", "problem"], rows)
    if verdict.unreachable:
        print_line(f"{verdict.unreachable} whole ones lie behind chunks that are gone, and wait for those to be saved.")
    _print_profiles(verdict.profiles, repair)
    if quarantined:
        print_line(f"{len(quarantined)} were damaged and dropped earlier:")
        print_table(["key", "when", "problem"], [_quarantine_row(key, note) for key, note in quarantined.items()])


def _print_profiles(profiles: _Profiles, repair: bool) -> None:
    if profiles.whole:
        print_line(f"{profiles.whole} {'profile is' if profiles.whole == 1 else 'profiles are'} whole.")
    if profiles.damaged:
        print_line(f"Damaged profiles, {'dropped' if repair else 'would be dropped by --repair'}:")
        print_table(["profile", "problem"], [(name[:12], why) for name, why in profiles.damaged.items()])
    if profiles.absent:
        print_line(f"Whole frames name profiles that are not here: {', '.join(profiles.absent)}")


def _quarantine_row(key: str, note: dict[str, str | float]) -> tuple[str, str, str]:
    when = datetime.fromtimestamp(float(note["at_s"])).astimezone().isoformat(sep=" ", timespec="seconds")
    return key[:12], when, str(note["reason"])


def _as_json(verdict: _Verdict, repair: bool, quarantined: Quarantined) -> dict[str, Any]:
    return {
        "whole": verdict.whole,
        "whole_bytes": verdict.whole_bytes,
        "unreachable": verdict.unreachable,
        "damaged": [
            {"key": str(bad.key), "size_bytes": bad.size_bytes, "problem": bad.problem, "dropped": repair}
            for bad in verdict.damaged
        ],
        "profiles": verdict.profiles.whole,
        "damaged_profiles": [
            {"fingerprint": name, "problem": why, "dropped": repair} for name, why in verdict.profiles.damaged.items()
        ],
        "absent_profiles": verdict.profiles.absent,
        "quarantined": [{"key": key, **note} for key, note in quarantined.items()],
    }
