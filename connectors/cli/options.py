"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvstore import InvalidRequest


def _directory(store: str) -> Path:
    if "://" in store:
        raise InvalidRequest("this command works on a directory: --store takes no URL here")
    return Path(store)


StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        parser=_directory,
        help="The store's directory. Without it: store.path of the settings.",
    ),
]
PlaceOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR|URL",
        help="The store's directory, or the URL of one on other machines; remote: is remote.url of the settings, and "
        "replica: its replica. Without it: store.path of the settings.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]
LanguageModelOption = Annotated[
    str, typer.Option(help="Hub id or directory of a causal language model.", envvar="MODEL")
]
DtypeOption = Annotated[str, typer.Option(help="As the model will be served: bfloat16, float16, float32; or auto.")]
ModelOption = Annotated[str | None, typer.Option(metavar="M", help="Only chunks of models with M in their name.")]
TenantOption = Annotated[str | None, typer.Option(metavar="T", help='Only chunks of tenant T; "" is who names none.')]
PrefixOption = Annotated[
    str | None, typer.Option(metavar="KEY", help="Only this chunk and all behind it (8 digits or more of its key).")
]
UnusedForOption = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only chunks not used for that long: 12h, 7d, 2w.")
]
OlderThanOption = Annotated[
    str | None, typer.Option(metavar="AGE", help="Only chunks saved longer ago than that: 12h, 7d, 2w.")
]
EXACT_KEY = "The chunk's key, or its first digits: 8 or more, as many as are unique."
