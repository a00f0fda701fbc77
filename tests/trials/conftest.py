"""The folder with the real data, which is not part of the project."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", type=Path, help="The folder with real readings and events.")


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path:
    folder: Path | None = request.config.getoption("--data")
    assert folder, "say where the files are: make trial data=FOLDER"
    assert folder.is_dir(), f"there is no folder {folder}"
    return folder
