"""The documentation is complete, and what it shows runs."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from factories import ROOT, Weir
from prometheus_client.metrics import MetricWrapperBase

from cli.faults import report
from cli.faults.command import KEPT, PAGE
from cli.faults.record import Record
from cli.faults.table import FAULTS
from shared import metrics
from shared.config import PREFIX, Settings

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    documented = re.findall(r"^\| `(WEIR_\w+)` \|", text, re.MULTILINE)
    assert documented == [PREFIX + name.upper() for name in Settings.model_fields]


def test_every_metric_says_what_it_counts() -> None:
    collectors = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    assert collectors
    assert all(metric.documentation.endswith(".") for one in collectors for metric in one.collect())


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_figures_of_faults_are_those_that_were_kept() -> None:
    kept = msgspec.json.decode(KEPT.read_bytes(), type=list[Record])
    readme = (ROOT / "README.md").read_text()
    assert report.summary(kept) in readme
    assert f"in {len(FAULTS)} ways" in readme
    assert report.page(kept) == PAGE.read_text()


def test_readme_examples_run_as_written(running_weir: Weir, tmp_path: Path) -> None:
    first, *examples = BLOCK.findall((ROOT / "README.md").read_text())
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make up", "make test"]
    script = "set -eu\n" + "\n".join(examples)
    script = script.replace("http://127.0.0.1:8000", running_weir.url).replace(
        ".venv/bin/weir", f"env PYTHONPATH={ROOT} {sys.executable} -m cli"
    )
    environment = {"WEIR_API_PORT": str(running_weir.port), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"SUCCESS"') == 2
    assert "HTTP/1.1 202 Accepted" in done.stdout
    assert (
        '{"status": "ok", "accepted": 1, "rejected": [{"index": 1, "code": "not_a_number", "field": "x"}]}'
        in done.stdout
    )
    assert done.stdout.count('"accepted": 2, "rejected": []') == 2
    assert "2 stored now" in done.stdout
    assert not re.search(r'"status": ?[45]\d\d', done.stdout), done.stdout
