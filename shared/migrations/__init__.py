"""The schema and its history. `python -m shared.migrations` brings a database up to date."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from shared.database import translated


def upgrade(database_url: str) -> None:
    """Bring the schema to the newest revision; twice is as good as once. Raises WeirError."""
    config = _config()
    config.attributes["database_url"] = database_url
    with translated():
        command.upgrade(config, "head")


def head() -> str:
    """Name the newest revision there is."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
