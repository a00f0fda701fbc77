"""Draws the results of `weir bench`: `python loadtest/draw.py loadtest/results/latest.json docs/benchmarks.png`."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OURS, LIMIT, OTHER, MISSED, INK = "#1f6f8b", "#b8bfc6", "#d9a441", "#b5493a", "#2b2f33"
AGAINST = {"bare": ("bare ASGI, does nothing", LIMIT), "lane": ("Weir: confirmed, and being stored", OURS),
           "fastapi": ("FastAPI + pydantic, does nothing", LIMIT), "plain": ("plain FastAPI + aio-pika + INSERT", OTHER)}  # fmt: skip
STORED = {"copy": ("raw COPY", LIMIT), "backlog.batches": ("backlog of batches, drained", OURS),
          "columns": ("batches over HTTP, columns", OURS), "arrays": ("batches over HTTP, arrays", OURS),
          "backlog.singles": ("backlog of single readings", OURS)}  # fmt: skip
PROCESSES = ("api", "consumer", "worker")
#: A target reached more times over than this is drawn no longer.
LONGEST = 2.6

Figures = dict[str, dict[str, float]]


def draw(results: dict[str, Any], path: Path) -> None:
    plt.rcParams.update({"font.size": 10, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
                         "text.color": INK, "axes.labelcolor": INK, "ytick.color": INK})  # fmt: skip
    figure, panels = plt.subplots(2, 2, figsize=(15, 14), layout="constrained", gridspec_kw={"height_ratios": [1.7, 1]})
    figure.get_layout_engine().set(wspace=0.06, hspace=0.05, w_pad=0.15, h_pad=0.15)
    figures = results["figures"]
    requests(panels[0][0], figures)
    targets(panels[0][1], results["ratios"])
    storing(panels[1][0], figures, results["plan"]["readings"])
    memory(panels[1][1], figures, results["plan"])
    machine, versions = results["machine"], results["versions"]
    figure.supxlabel(
        f"{machine['cores']} cores, {machine['cpu']}, Linux {machine['kernel']} · PostgreSQL {versions['PostgreSQL']}, "
        f"RabbitMQ {versions['RabbitMQ']}, Python {versions['Python']}, uvicorn {versions['uvicorn']} · fsync on, all on "
        f"one machine\nmedians of {results['plan']['rounds']} rounds, lines from lowest to highest · {results['date'][:10]}",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)


def bars(axes: Axes, rows: list[tuple[str, dict[str, float], str, str]]) -> None:
    """One bar for each (label, summary, colour, what to write behind it); a label of spaces leaves a gap."""
    longest = max(summary["highest"] for _, summary, _, _ in rows)
    for place, (_, summary, colour, said) in enumerate(rows):
        axes.barh(place, summary["median"], color=colour, height=0.78)
        if summary["highest"] > summary["lowest"]:
            axes.hlines(place, summary["lowest"], summary["highest"], color=INK, linewidth=1)
        axes.text(summary["highest"] + longest * 0.012, place, said, va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set_xlim(0, longest * 1.22)
    clean(axes)


def clean(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(LIMIT)


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004


def requests(axes: Axes, figures: Figures) -> None:
    rows = []
    nothing = {"median": 0.0, "lowest": 0.0, "highest": 0.0}
    for connections in (1, 64, 256):
        if rows:
            rows.append(("", nothing, LIMIT, ""))
        rows.append((f"{connections} connection{'s' if connections > 1 else ''}", nothing, LIMIT, ""))
        for name, (label, colour) in AGAINST.items():
            summary = figures[f"{name}.{connections}.per_second"]
            p50, p99 = (figures[f"{name}.{connections}.{which}_ms"]["median"] for which in ("p50", "p99"))
            rows.append((label, summary, colour, f"{summary['median']:,.0f}   ({short(p50)} / {short(p99)} ms)"))
    bars(axes, rows)
    for text in axes.get_yticklabels():
        if "connection" in text.get_text():
            text.set_fontweight("bold")
    axes.set_title("One reading per request: requests per second (p50 / p99)")


def storing(axes: Axes, figures: Figures, readings: int) -> None:
    rows = []
    for name, (label, colour) in STORED.items():
        summary = figures[f"{name}.rows_per_second"]
        rows.append((label, summary, colour, f"{summary['median']:,.0f}"))
    bars(axes, rows)
    axes.set_title(f"{readings:,} readings: rows stored per second")


def reached(ratio: dict[str, Any], value: float) -> float:
    """How many times over; a difference may be nothing at all."""
    bound = ratio["bound"]
    times = bound / max(value, 1e-9) if ratio["aim"] < bound else value / bound
    return float(min(times, LONGEST))


def targets(axes: Axes, ratios: list[dict[str, Any]]) -> None:
    """Each ratio as a share of what it must reach, so that all have one line to reach; longer is better."""
    judged = [ratio for ratio in ratios if ratio["bound"] is not None]
    for place, ratio in enumerate(judged):
        upper = ratio["aim"] < ratio["bound"]

        colour = MISSED if ratio["verdict"] == "missed" else OURS
        axes.barh(place, reached(ratio, ratio["median"]), color=colour, height=0.6)
        axes.vlines(reached(ratio, ratio["aim"]), place - 0.4, place + 0.4, color=INK, linewidth=1.5, linestyle=":")
        unit = f" {ratio['unit']}" if ratio["unit"] else ""
        sign = "≤ " if upper else "≥ "
        said = f"{ratio['median']:.3g}{unit}   ({sign}{ratio['bound']:g}, aim {ratio['aim']:g})"
        axes.text(LONGEST * 1.03, place, said, va="center", fontsize=9)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.set_yticks(range(len(judged)), [ratio["name"].replace(", ", "\n", 1) for ratio in judged], fontsize=9)
    axes.set_xlim(0, LONGEST * 1.75)
    clean(axes)
    axes.set_title("Against the targets (line: bound, dots: aim)")


def memory(axes: Axes, figures: Figures, plan: dict[str, int]) -> None:
    rows = []
    for name in PROCESSES:
        few = figures[f"memory.{name}.batches.few_mb"]
        rows.append((f"{name}, 10,000 readings", few, LIMIT, f"{few['median']:,.0f}"))
        for kind, label, count in (("singles", "one by one", "single_readings"), ("batches", "in batches", "readings")):
            many = figures[f"memory.{name}.{kind}.many_mb"]
            rows.append((f"{plan[count]:,} {label}", many, OURS, f"{many['median']:,.0f}"))
    empty = figures["memory.broker.batches.empty_mb"]
    rows.append(("broker, nothing waiting", empty, LIMIT, f"{empty['median']:,.0f}"))
    for kind, label in (("singles", "as of single readings"), ("batches", "in batches")):
        waiting = figures[f"memory.broker.{kind}.backlog_mb"]
        rows.append((f"{plan['readings']:,} waiting, {label}", waiting, OURS, f"{waiting['median']:,.0f}"))
    bars(axes, rows)
    axes.set_title("Memory in MB")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
