"""What almost is JSON, made so that the record at fault can be told from its neighbours."""

import re

#: What JSON has outside of texts: punctuation and space, numbers, three words. None of it needs a look.
_VALID = rb"(?:-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][-+]?\d++)?|true|false|null)(?![-+.#()\w])"
#: A stretch of these and of texts without an escape; or a text with escapes, even one that never ends; or a word or number
#: that JSON does not have, such as C and Python print them: nan, -inf, 1.#QNAN, -nan(ind), .5, 5., +5, 07, None. Nothing
#: is tried twice, so a broken body takes linear time too. The stretch has a bound because each of its pieces takes memory.
_PIECE = re.compile(
    rb'(?>(?:[^"\w.+#()-]++|"[^"\\]*+"|' + _VALID + rb'){1,1000})|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|([-+.#()\w]++)',
    re.DOTALL,
)
#: An escape in a text: half of a surrogate pair, or a pair, or another.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
#: Most pieces, and most escapes, that are looked at in one body. 10,000 readings without one good value have half as
#: many; a body of nothing but such words would keep everybody waiting, and may as well count as no JSON.
_MOST = 200_000

#: Editors on Windows put it before a text; JSON parsers may ignore it there (RFC 8259, section 8.1).
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: -0 where it is a number: a float would lose its sign, because JSON readers take it for an integer.
_NEGATIVE_ZERO = re.compile(rb"-0(?=[\s,}\]]|$)")
_TEXT_OR_NEGATIVE_ZERO = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?<![\w.+-])(-0)(?=[\s,}\]]|$)', re.DOTALL)


def mended(body: bytes) -> bytes:
    """Put something that msgspec can step over, and that no schema takes either, in place of words and numbers that JSON does
    not have and of half surrogate pairs: a number beyond a float, and NUL. What is beyond the bound stays as it is, which
    is no JSON.
    """
    numbered = _PIECE.sub(lambda piece: b"1e999" if piece[1] else piece[0], body, _MOST)
    return _ESCAPE.sub(lambda escape: rb"\u0000" if escape[1] else escape[0], numbered, _MOST)


def without_byte_order_mark(body: bytes) -> bytes:
    """Leave out the byte order mark that a body may begin with."""
    return body.removeprefix(_BYTE_ORDER_MARK)


def signed(body: bytes) -> bytes:
    """Write -0 as -0.0, so that it keeps its sign as a float; texts stay as they are."""
    if b"-0" not in body or _NEGATIVE_ZERO.search(body) is None:
        return body
    return _TEXT_OR_NEGATIVE_ZERO.sub(lambda found: b"-0.0" if found[1] else found[0], body)
