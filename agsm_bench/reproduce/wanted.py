"""Which recipes tables, figures and claims ask for, each with the label of who asks."""

from __future__ import annotations

from collections.abc import Iterable

from agsm_bench.errors import UserError
from agsm_bench.report import figures
from agsm_bench.report.claims import load_claims
from agsm_bench.report.fills import Size, load_fills
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.tables import NUMBERS, load_paper
from agsm_bench.types import Domain

Wanted = list[tuple[str, Recipe]]


def by_tables(numbers: Iterable[int], domain: Domain, size: Size | None = None) -> Wanted:
    """The recipes of the rows of some tables, each with the table's number.

    Raises:
        UserError: there is no such table, or nothing is known of how to fill it.
    """
    rows = []
    for number in numbers:
        load_paper(number)
        fills = load_fills(number, domain, size)
        if not fills:
            known = ", ".join(map(str, fillable(domain))) or "none"
            raise UserError(f"No runs fill Table {number} on {domain}.", f"Tables that runs fill there: {known}.")
        rows += [(str(number), row.recipe) for fill in fills for row in fill.rows]
    return rows


def by_figures(names: Iterable[str]) -> Wanted:
    """Those of the points of some figures, labelled F and the name."""
    return [(f"F{name}", recipe) for name in names for recipe in figures.load(name).recipes]


def by_claims() -> Wanted:
    """Those of the claims, with their keys."""
    parts = [(claim.key, part) for claim in load_claims().claims for part in claim.parts]
    return [(key, recipe) for key, part in parts for recipe in (part.b, part.a)]


def fillable(domain: Domain) -> list[int]:
    """The numbers of the tables that runs fill on a domain."""
    return [number for number in NUMBERS if load_fills(number, domain)]
