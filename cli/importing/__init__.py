"""Reads files of readings and events, and sends their records to the API."""
