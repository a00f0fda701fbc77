"""Install a Debian package where that is allowed without a question."""

import os
import shutil
import subprocess

#: An install that waits for another one's lock gives up after this.
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3")


def install(package: str) -> bool:
    """Install a package without what it only recommends; tell whether that worked."""
    as_root = _ways_to_root()
    if as_root is None or not shutil.which("apt-get"):
        return False
    command = [*as_root, *APT, "install", "-y", "--no-install-recommends", package]
    return _succeeds(command) or (_succeeds([*as_root, *APT, "update"]) and _succeeds(command))


def _ways_to_root() -> list[str] | None:
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive"]
    if shutil.which("sudo") and _succeeds(["sudo", "-n", "true"]):
        return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"]
    return None


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
