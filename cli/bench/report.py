"""What a run found out, as a table for people and as JSON."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from cli.bench.figures import Figures, Result, Verdict
from cli.bench.targets import COMPARISONS

_SAID = {
    Verdict.AIM: "[green]aim reached[/green]",
    Verdict.MET: "[green]reached[/green]",
    Verdict.MISSED: "[red]missed[/red]",
    Verdict.NONE: "",
}


def results(figures: Figures) -> list[Result]:
    """Every comparison whose parts were measured."""
    return [result for comparison in COMPARISONS if (result := comparison.result(figures))]


def as_json(figures: Figures, found: list[Result], **about: Any) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "ratios": [result.as_json() for result in found],
        "figures": {name: asdict(summary) for name, summary in figures.summaries().items()},
    }


def ratio_table(found: list[Result]) -> Table:
    table = Table("ratio", "at least", "aim", "measured", "rounds between", "", title="Ratios", box=None)
    for result in found:
        comparison, target, summary = result.comparison, result.comparison.target, result.summary
        unit = f" {comparison.unit}" if comparison.unit else ""
        sign = "≤ " if target and target.is_upper else ""
        table.add_row(
            comparison.name,
            f"{sign}{target.bound:g}{unit}" if target else "",
            f"{sign}{target.aim:g}{unit}" if target else "",
            f"{rounded(summary.median)}{unit}",
            f"{rounded(summary.lowest)} – {rounded(summary.highest)}",
            _SAID[result.verdict],
        )
    return table


def figure_table(figures: Figures) -> Table:
    table = Table("figure", "median", "rounds between", title="Figures", box=None)
    for name, summary in figures.summaries().items():
        table.add_row(name, rounded(summary.median), f"{rounded(summary.lowest)} – {rounded(summary.highest)}")
    return table


def rounded(value: float) -> str:
    """Three digits that mean something; more would be noise."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
