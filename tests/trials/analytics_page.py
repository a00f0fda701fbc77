"""What docs/analytics.md shows is what comes: its requests are sent as they stand, to a Weir with the data it tells of."""

import re
import subprocess
import sys
from pathlib import Path

from factories import ROOT, Weir
from real_data import READINGS_FILE, command

from cli.programs import inherited_environment

BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: Blocks, by how they begin, that are not compared, and why.
LEFT_OUT = {
    '{"id": "019a2f6e-…", "status": "stored"': "its request names a receipt, and is repeated until it is stored"
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What is another each time: moments of answering, and how long it took.
PASSING = re.compile(r'("(?:as_of|checked_at)":)"[^"]*"|("(?:seconds|rows_per_second)":)[\d.]+')
COMMANDS = f'set -eu; weir() {{ "{sys.executable}" -m cli "$@"; }}\n'


def test_page_shows_what_comes(running_weir: Weir, data: Path, tmp_path: Path) -> None:
    weir = running_weir
    command(weir, "import", "readings", data / f"{READINGS_FILE}.csv.gz", "--user", "ada@example.org")
    command(weir, "seal")
    (device,) = weir.http.get("/devices/", params={"name": "participant-1"}).json()
    variables = {"WEIR": weir.url, "DEVICE": device["id"], "USER_ID": str(device["user_id"]), "PYTHONPATH": str(ROOT)}
    environment = inherited_environment() | weir.environment | variables

    blocks = BLOCK.findall((ROOT / "docs/analytics.md").read_text())
    compared = [block for block in blocks if not block.startswith(tuple(LEFT_OUT))]
    assert len(blocks) - len(compared) == len(LEFT_OUT)
    others = []
    for block in compared:
        request, _, shown = block.partition("\n\n")
        came = subprocess.run(
            ["bash", "-c", COMMANDS + request],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip
        if shown and not matches(shown, came):
            others.append(f"{request}\n\nthe page shows\n{shown}\nwhat came\n{came[:5000]}")
    assert not others, "\n\n".join(others)


def matches(shown: str, came: str) -> bool:
    """Whether it is what came, but for what `…` stands for, white space, ids and what passes."""
    pattern = ".*".join(map(re.escape, bare(shown).split("…")))
    return re.fullmatch(pattern, bare(came), re.DOTALL) is not None


def bare(text: str) -> str:
    return PASSING.sub(r"\1\2~", UUID.sub("~", "".join(text.split())))
