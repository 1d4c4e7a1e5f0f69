"""`kvstore ls`: the chunks a store holds."""

from __future__ import annotations

import math
import time
from itertools import islice
from typing import Annotated

import typer

from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption, ModelOption, PlaceOption, TenantOption
from connectors.cli.output import format_age, print_json, print_line, print_table
from connectors.cli.place import open_reader, place_of
from connectors.inspection.holdings import Held
from connectors.inspection.listing import SortBy, listed, listed_as_json
from kvstore import EntryFilter


def ls(
    store: PlaceOption = None,
    model: ModelOption = None,
    tenant: TenantOption = None,
    sort: Annotated[SortBy, typer.Option(help="The newest, largest, most or last used first.")] = SortBy.AGE,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N chunks.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the chunks held: key, model, tenant, tokens [start, end), codec, size, hits, age, how long they stay.

    A chunk is the KV of a fixed number of prompt tokens; its key stands for these tokens and all before
    them, the model, the tenant and the codec. What the tokens were cannot be read from it. `used` is when it
    was last loaded, `expires` in how long it is dropped: pinned chunks are not dropped to make room.

    Example: kvstore ls --model SmolLM2 --sort hits --limit 10
    """
    place = place_of(store)
    with open_reader(place) as reader:
        of_model = listed(reader, sort, EntryFilter(tenant).selects, lambda held: (model or "") in held.model)
        chunks = list(islice(of_model, limit))
    if as_json:
        print_json([listed_as_json(chunk) for chunk in chunks])
    elif chunks:
        now_s = time.time()
        columns = ["key", "model", "tenant", "tokens", "codec", "size>", "hits>", "age>", "used>", "pinned", "expires>"]
        print_table(columns, [_row(chunk, now_s) for chunk in chunks])
    else:
        of = f" of {model}" * (model is not None) + f" for tenant {tenant!r}" * (tenant is not None)
        print_line(f"The store in {place} holds no chunks{of}.")


def _row(chunk: Held, now_s: float) -> tuple[str, ...]:
    entry, header = chunk.entry, chunk.header
    tokens = f"[{header.start}, {header.end})" if header else ""
    return (
        str(entry.key)[:12],
        chunk.model,
        entry.terms.tenant,
        tokens,
        chunk.codec,
        format_bytes(entry.size_bytes),
        str(entry.hits),
        format_age(now_s - entry.saved_at_s),
        format_age(now_s - entry.used_at_s) if entry.hits else "never",
        "yes" if entry.pinned else "",
        "" if entry.terms.expires_at_s == math.inf else format_age(entry.terms.expires_at_s - now_s),
    )
