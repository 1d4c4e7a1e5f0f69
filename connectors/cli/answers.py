"""`kvstore answers`: what the proxy's cache of answers holds, how its categories do, and dropping what should go."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from connectors.cli.answer_tables import print_answer, print_answers, print_categories
from connectors.cli.options import JsonOption
from connectors.cli.output import print_json, print_line
from connectors.counted import counted
from connectors.duration import parse_duration
from kvstore import InvalidRequest

if TYPE_CHECKING:
    from connectors.cli.answer_service import AnswerService, Which

_SHOWN = 5  # of those that `drop` is about to drop

CategoryOption = Annotated[str | None, typer.Option(metavar="C", help="Only answers of category C.")]
TenantOption = Annotated[str | None, typer.Option(metavar="T", help='Only answers of tenant T; "" is who names none.')]
OlderThanOption = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only answers computed longer ago than that: 12h, 7d, 2w.")
]
UrlOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Of the service. Without it: sidecar.url, else the service on this host."),
]
TokenOption = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="The admin's, or a tenant's. Without it: sidecar.token.")
]

answers = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help=(
        "Look after the answers that the proxy keeps.\n\n"
        "A running `kvstore serve` that was given an upstream (`proxy.upstream`) is asked: the one at --url, else "
        "`sidecar.url`, else the one on this host that has these settings. A tenant's token sees and drops its own "
        "answers; `categories` takes the admin's, as they are of all tenants."
    ),
)


@answers.command("categories")
def categories(url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """Show how each category does: hits, misses, what it holds, and how often its answers are wrong.

    Hits are `exact`, in the same words, or `semantic`, in others. `explored` were computed to learn whether a like
    answer would have been right, which `labels` counts. `threshold` is the lowest score that is served; `wrong` is
    the estimated share of wrong ones among what is served, and `at most` its upper bound, at the confidence asked for.

    Example: kvstore answers categories --json
    """
    with _service(url, token) as service:
        found = service.categories()
    if as_json:
        print_json([{**asdict(category), "hit_rate": category.hit_rate} for category in found])
    elif found:
        print_categories(found, time.time())
    else:
        print_line(f"The service at {service.url} has no categories.")


@answers.command("ls")
def ls(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="Stands in the question, in any case.")] = None,
    category: CategoryOption = None,
    tenant: TenantOption = None,
    older_than: OlderThanOption = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most N answers.")] = 50,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the answers held, the oldest first: question, answer, category, tenant, model, size, age.

    --json gives the first 500 characters of question and answer.

    Example: kvstore answers ls "refund" --category faq --older-than 7d
    """
    which = _which(text, category, tenant, older_than)
    with _service(url, token) as service:
        found = service.answers(which, limit)
    if as_json:
        print_json([answer.model_dump() for answer in found.answers])
        return
    if found.answers:
        print_answers(found.answers, time.time())
    else:
        that_fit = " that fit" if _says_something(which) else ""
        print_line(f"The service at {service.url} holds no answers{that_fit}.")
    if not found.is_all:
        print_line(f"These are the oldest {len(found.answers)}, and there may be more: --limit {2 * limit} shows more.")


@answers.command("show")
def show(
    answer_id: Annotated[int, typer.Argument(metavar="ID", min=0, help="As `kvstore answers ls` shows it.")],
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one answer: who had it computed, when, by which model, and the beginnings of question and answer.

    Example: kvstore answers show 17
    """
    with _service(url, token) as service:
        answer = service.answer(answer_id)
    if answer is None:
        raise InvalidRequest(f"the service at {service.url} holds no answer {answer_id}: see `kvstore answers ls`")
    if as_json:
        print_json(answer.model_dump())
    else:
        print_answer(answer, time.time())


@answers.command("drop")
def drop(
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only answers with this in the question, in any case.")
    ] = None,
    category: CategoryOption = None,
    tenant: TenantOption = None,
    older_than: OlderThanOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every answer; with a tenant's token, every one of its.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop the answers that fit every filter given: the next one who asks has it computed.

    Shows some and asks first on a terminal. Dropped answers leave the index and the directory; what was learned
    about the category stays.

    Example: kvstore answers drop --category news --older-than 1d --dry-run
    """
    which = _meant(_which(text, category, tenant, older_than), everything)
    asks = not yes and not dry_run and _is_terminal()
    with _service(url, token) as service:
        number = service.count(which)
        if number and (asks or dry_run) and not as_json:
            print_answers(service.answers(which, _SHOWN).answers, time.time())
        go = number > 0 and not dry_run
        if go and asks:
            go = typer.confirm(f"Drop {counted(number, 'answer')} of {service.url}?", err=True)
        if go:
            number = service.drop(which)
    if as_json:
        print_json({"answers": number, "dropped": go})
    else:
        done = "dropped" if go else "would be dropped" if dry_run else "fit, nothing is dropped"
        print_line(f"{service.url}: {counted(number, 'answer')}: {done}.")


def _service(url: str | None, token: str | None) -> AbstractContextManager[AnswerService]:
    from connectors.cli.answer_service import answer_service  # HTTP takes a while to import

    return answer_service(url, token)


def _which(text: str | None, category: str | None, tenant: str | None, older_than: str | None) -> Which:
    try:
        older_than_s = None if older_than is None else parse_duration(older_than)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    return {"text": text or None, "category": category, "tenant": tenant, "older_than_s": older_than_s}


def _meant(which: Which, everything: bool) -> Which:
    """What goes. Raises InvalidRequest where nothing says which."""
    if _says_something(which):
        return which
    if everything:
        return {"older_than_s": 0.0}
    raise InvalidRequest("drop needs a filter: --text, --category, --tenant or --older-than; or --all for everything")


def _says_something(which: Which) -> bool:
    return any(value is not None for value in which.values())


def _is_terminal() -> bool:
    return sys.stdin.isatty()
