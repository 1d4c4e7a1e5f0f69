"""The `kvstore` command: one file per sub-command, put together here."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from connectors.cli.answers import answers
from connectors.cli.calibrate import calibrate
from connectors.cli.config import config
from connectors.cli.demo import demo
from connectors.cli.du import du
from connectors.cli.evict import evict
from connectors.cli.exporting import export
from connectors.cli.gate import gate
from connectors.cli.importing import import_chunks
from connectors.cli.ls import ls
from connectors.cli.pin import pin, unpin
from connectors.cli.serve import serve
from connectors.cli.show import show
from connectors.cli.tiers import tiers
from connectors.cli.top import top
from connectors.cli.verify import verify
from connectors.cli.warm import warm
from connectors.cli.why_miss import why_miss
from kvstore import KVCacheError


class _OneLineErrors(TyperGroup):
    """What we raise on purpose is one line on stderr and exit code 2; anything else is a bug and a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KVCacheError as error:
            print(f"kvstore: {error}", file=sys.stderr)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Looks after a store of KV caches: what it holds, what that costs, whether it is whole.\n\n"
        "Everything works offline on a store directory, but for `answers`, which asks a running service. "
        "Looking works while an engine is writing it too; "
        "`evict`, `pin`, `unpin`, `import` and `verify --repair` need it to stop. "
        "Which directory: --store, else store.path of the settings (see `kvstore config`). "
        "Most commands take the URL of a store on other machines there as well, whoever writes it."
    ),
)
app.command("demo")(demo)
app.command("serve")(serve)
app.command("config")(config)
app.command("tiers")(tiers)
app.command("ls")(ls)
app.command("show")(show)
app.command("du")(du)
app.command("top")(top)
app.command("why-miss")(why_miss)
app.command("verify")(verify)
app.command("evict")(evict)
app.command("pin")(pin)
app.command("unpin")(unpin)
app.command("export")(export)
app.command("import")(import_chunks)
app.command("calibrate")(calibrate)
app.command("gate")(gate)
app.command("warm")(warm)
app.add_typer(answers, name="answers")
