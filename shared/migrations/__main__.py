"""Bring the database of WEIR_DATABASE_URL up to date."""

from shared.config import load
from shared.migrations import upgrade

upgrade(load().database_url)
