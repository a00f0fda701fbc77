"""Bring the database of WEIR_DATABASE_URL up to date."""

import sys

from shared.config import load
from shared.errors import Misconfigured
from shared.migrations import upgrade

try:
    settings = load()
except Misconfigured as error:
    sys.exit(f"weir migrations: {error}")
upgrade(settings.database_url)
