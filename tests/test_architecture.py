"""Imports go one way, each technology has one owner, and only entry points read settings."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = {"api", "consumer", "analytics", "cli"}
OURS = SERVICES | {"shared", "loadtest", "tests"}

#: What each package may import of ours, beside itself.
MAY_IMPORT = {service: {"shared"} for service in SERVICES} | {"shared": set(), "loadtest": set()}

#: Where each technology may be imported: a package, or a single file. What Weir is measured against may use any.
OWNERS = {
    "fastapi": ["api"],
    "starlette": ["api"],
    "aio_pika": [],
    "aiormq": [],
    "psycopg2": ["shared/database.py", "consumer/session.py", "consumer/sifting.py"],
    "celery": ["shared/celery_app.py", "shared/jobs.py", "analytics"],
    "supervisor": ["cli"],
    "pyarrow": ["shared/binary_copy.py", "shared/cold", "analytics", "cli", "api/export"],
    "duckdb": ["analytics"],
    "tsdownsample": ["api/reduction.py"],
}

#: The entry points, which wire things; everything below them takes arguments.
READS_SETTINGS = ["api/app.py", "*/__main__.py", "analytics/celery.py", "cli/*.py"]


@dataclass(frozen=True)
class Source:
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.parts[0]

    def imports(self) -> Iterator[str]:
        """Dotted names, wherever in the file they are imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path} imports relatively"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def is_in(self, places: list[str]) -> bool:
        return any(self.path.match(place) or self.path.is_relative_to(place) for place in places)


SOURCES = [
    Source(path.relative_to(ROOT), ast.parse(path.read_text(), str(path)))
    for package in sorted(MAY_IMPORT)
    for path in sorted((ROOT / package).rglob("*.py"))
]


@pytest.fixture(params=SOURCES, ids=lambda source: str(source.path))
def source(request):
    return request.param


def test_imports_go_one_way(source):
    allowed = {source.package} | MAY_IMPORT[source.package]
    ours = {name.partition(".")[0] for name in source.imports()} & OURS
    assert ours <= allowed


def test_technology_stays_with_its_owner(source):
    strays = {
        name
        for name in source.imports()
        if not source.is_in(["loadtest", *OWNERS.get(name.partition(".")[0], [source.package])])
    }
    assert not strays


def test_only_entry_points_read_settings(source):
    reads = "shared.config.load" in set(source.imports()) or "shared.config" in _modules(source)
    assert not reads or source.is_in(READS_SETTINGS)


def _modules(source):
    """`import shared.config` would hide a call of load() behind the module's name."""
    return {alias.name for node in ast.walk(source.tree) if isinstance(node, ast.Import) for alias in node.names}


def test_rules_see_the_code():
    assert len({source.package for source in SOURCES}) == len(MAY_IMPORT)
