"""Find RabbitMQ on this machine, or bring it: with apt where that is allowed, else unpacked in the user's cache."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cli import apt
from shared.errors import Misconfigured

#: Debian and the RabbitMQ packages put the plain scripts here; those in /usr/sbin insist on their own user.
INSTALLED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
ERLANG_ROOT = "/usr/lib/erlang"
ADVICE = "install rabbitmq-server (3.10 or newer), or use `docker compose up`"


@dataclass(frozen=True)
class Installation:
    """Where the programs of one RabbitMQ are; `path` goes in front of PATH so that its scripts find their Erlang."""

    server: Path
    epmd: Path
    path: str


def find_or_install() -> Installation:
    """The RabbitMQ of this machine, installing or unpacking it when there is none.

    Raises:
        Misconfigured: there is none and none could be brought; the text says what to do.
    """
    return _installed() or _unpacked() or _install() or _unpack()


def _installed() -> Installation | None:
    found = str(INSTALLED) if INSTALLED.exists() else shutil.which("rabbitmq-server")
    epmd = shutil.which("epmd") or shutil.which("epmd", path=f"{ERLANG_ROOT}/bin")
    if not found or not epmd:
        return None
    server = Path(found).resolve()
    return Installation(server, Path(epmd), str(server.parent))


def _install() -> Installation | None:
    return _installed() if apt.install("rabbitmq-server") else None


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "weir"


def _unpacked() -> Installation | None:
    root = _cache() / "rabbitmq" / "usr/lib"
    servers = sorted(root.glob("rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
    if not servers:
        return None
    erlang = root / "erlang/bin"
    return Installation(servers[-1], erlang / "epmd", f"{erlang}:{servers[-1].parent}")


def _unpack() -> Installation:
    """Download the packages as any user may, and unpack them beside each other without installing anything."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Misconfigured(f"there is no RabbitMQ on this machine and no apt to fetch it: {ADVICE}")
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _unpacked()
        if done:
            return done
        draft = Path(folder) / "rabbitmq"
        draft.mkdir()
        try:
            _download_and_unpack(Path(folder), draft)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Misconfigured(f"RabbitMQ could not be fetched ({reason}): {ADVICE}") from error
        _point_erlang_at(draft, cache / "rabbitmq")
        draft.rename(cache / "rabbitmq")
    installation = _unpacked()
    if installation is None:
        raise Misconfigured(f"the packages of RabbitMQ are not laid out as expected: {ADVICE}")
    return installation


def _download_and_unpack(folder: Path, target: Path) -> None:
    depends = "apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances"
    listing = _output([*depends.split(), "rabbitmq-server"], folder)
    # A name that is indented or in <> belongs to another package's line, or is a choice no package has.
    names = {line for line in listing.splitlines() if line.startswith("erlang-")}
    _output([*apt.APT, "download", "rabbitmq-server", *sorted(names)], folder)
    for package in folder.glob("*.deb"):
        _output(["dpkg", "-x", str(package), str(target)], folder)


def _output(command: list[str], folder: Path) -> str:
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout


def _point_erlang_at(draft: Path, home: Path) -> None:
    """Erlang's start scripts spell out where they are installed; say where they are now."""
    for pattern in ("bin/erl", "bin/start", "erts-*/bin/erl", "erts-*/bin/start"):
        for script in (draft / "usr/lib/erlang").glob(pattern):
            text = script.read_text()
            script.write_text(text.replace(f"ROOTDIR={ERLANG_ROOT}", f'ROOTDIR="{home}{ERLANG_ROOT}"'))
