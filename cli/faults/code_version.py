"""Which code a fault was run on: a digest of what its result depends on."""

import hashlib
from pathlib import Path

#: What a run executes: the processes that are broken, the broker's definitions and the harness itself.
FOLDERS = ("api", "consumer", "shared", "deploy/rabbitmq", "cli/faults")
FILES = ("requirements.txt",)


def code_version(checkout: Path) -> str:
    """Return twelve hexadecimal digits that change with any of the code that `make faults` runs.

    A commit's hash would not do: keeping the results of one fault makes a new commit, and leaves the code as it was.
    """
    found = [path for folder in FOLDERS for path in (checkout / folder).rglob("*") if _is_code(path)]
    digest = hashlib.sha256()
    for path in sorted([*found, *(checkout / name for name in FILES)]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(checkout).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _is_code(path: Path) -> bool:
    return path.is_file() and path.suffix in {".py", ".json", ".conf"}
