"""What the figures were measured on and with; nothing that names the machine."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cli.bench.rig import Rig

PACKAGES = ("uvicorn", "fastapi", "pydantic", "msgspec", "numpy", "aiormq", "aio-pika", "psycopg2-binary")


def machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _value("/proc/cpuinfo", "model name"),
        "memory_gb": round(int(_value("/proc/meminfo", "MemTotal").split()[0]) * 1024 / 1e9),
        "kernel": platform.release(),
    }


def versions(rig: Rig) -> dict[str, str]:
    overview = rig.management.get("/api/overview").json()
    return {
        "PostgreSQL": str(rig.store.scalar("SHOW server_version")).split()[0],
        "RabbitMQ": overview["rabbitmq_version"],
        "Erlang": overview["erlang_version"],
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _value(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
