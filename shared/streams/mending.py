"""What almost is JSON, made so that the record at fault can be told from its neighbours."""

import re

#: A word that JSON does not have; or a stretch without one and without an escape; or a text with escapes, even one that
#: never ends. No two of these begin alike and nothing follows them, so a broken body takes linear time too. The stretch
#: has a bound because each of its pieces takes memory.
_PIECE = re.compile(rb'(NaN|Infinity)|(?:[^"NI]+|"[^"\\]*"){1,1000}|"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
#: An escape in a text: half of a surrogate pair, or a pair, or another.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
#: Most pieces, and most escapes, that are looked at in one body. 10,000 readings without one good value have half as
#: many; a body of nothing but such words would keep everybody waiting, and may as well count as no JSON.
_MOST = 200_000


def mended(body: bytes) -> bytes:
    """Put something that msgspec can step over, and that no schema takes either, in place of NaN, Infinity and half
    surrogate pairs: a number beyond a float, and NUL. What is beyond the bound stays as it is, which is no JSON.
    """
    numbered = _PIECE.sub(lambda piece: b"1e999" if piece[1] else piece[0], body, _MOST)
    return _ESCAPE.sub(lambda escape: rb"\u0000" if escape[1] else escape[0], numbered, _MOST)
