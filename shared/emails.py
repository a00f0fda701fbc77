"""Which emails are the same: those that differ in case only, in any script."""

import unicodedata


def email_key(email: str) -> str:
    """Return what an email is known by: canonical caseless matching (The Unicode Standard, section 3.13, D145).

    Computed here and not by PostgreSQL, whose lower() depends on the cluster's locale.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", email).casefold())
