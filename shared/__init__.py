"""What every process of Weir agrees on: settings, errors, streams, the database and the broker."""
