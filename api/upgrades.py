"""HTTP/1.1 whose requests may offer an upgrade: the offer is ignored and the request is answered as without it.

Java's HttpClient, Spring, Ktor and `curl --http2` offer h2c with every request over plain HTTP. RFC 9110, section 7.8,
lets a server ignore the offer, but the request and its body stay.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Connection options that belong to an offer, and the fields they name.
_OFFERED = {b"upgrade", b"http2-settings"}


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """uvicorn's HTTP over a parser that would otherwise end a request with an offer where its body begins.

    The parser raises HttpParserUpgrade after such a head and takes nothing more. A fresh parser then gets the head
    without the offer, and the bytes that follow. Requests without an offer take the same path as before.
    """

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest:
                rest = self._fed(rest)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def _fed(self, data: memoryview) -> memoryview:
        """Feed the parser; return what it left because of an offer. Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._restart_without_offer()
            return data[offer.args[0] :]
        return data[:0]

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _restart_without_offer(self) -> None:
        """Read the same head again without its offer. Raises HttpParserError."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":  # asks for a tunnel whatever its fields are
            raise httptools.HttpParserError("CONNECT is not for an origin server")
        lines = [method + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name in _OFFERED:
                continue
            if name == b"connection":
                options = [one.strip() for one in value.split(b",")]
                value = b", ".join(one for one in options if one.lower() not in _OFFERED)  # noqa: PLW2901
                if not value:
                    continue
            lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
