"""What stands behind the question mark: nothing that a route does not know, since `?durble=true` would promise much."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant

from connectors.sidecar.problems import Problem


def require_known(request: Request) -> None:
    """Raises Problem for a parameter that the route has not, or that is given more than once."""
    names, known = [name for name, _ in request.query_params.multi_items()], list(_of(request.scope["route"].dependant))
    for name in names:
        if name not in known:
            there_are = ", ".join(known) or "none"
            raise Problem("invalid-request", f"there is no parameter {name[:50]!r}; there are: {there_are}")
    if len(set(names)) < len(names):
        raise Problem("invalid-request", "a parameter is given more than once")


def _of(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _of(each)
