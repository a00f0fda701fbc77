"""`weir` lists its commands without loading them, and says of each what the command says of itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app

ROOT = Path(__file__).parents[2]
#: Each takes longer to import than the whole list may.
HEAVY = {
    "sqlalchemy",
    "psycopg2",
    "pyarrow",
    "numpy",
    "httpx",
    "pydantic",
    "alembic",
    "celery",
    "fastapi",
    "tenacity",
    "duckdb",
}


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["help", "nothing"])
def test_list_of_commands_loads_nothing_heavy(arguments):
    script = (
        "import sys, json\n"
        f"sys.argv = ['weir', *{arguments!r}]\n"
        "from cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps([name for name in sys.modules if '.' not in name]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert all(name in done.stdout for name in COMMANDS)
    assert HEAVY & set(json.loads(done.stderr.splitlines()[-1])) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_says_of_itself_what_the_list_says(name):
    command = COMMANDS[name].load(name)
    first = " ".join((command.help or "").split("\n\n")[0].split())
    assert first.startswith(COMMANDS[name].help)
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output


def test_command_that_there_is_not_is_an_error_with_a_hint():
    found = CliRunner().invoke(app, ["devcies"])
    assert found.exit_code == 2
    assert "devcies" in found.output
