"""What commands ask of the API about dead letters."""

from collections.abc import Iterator

import httpx

from cli.client import ApiClient
from cli.http import Answer, checked

_PATH = "/ops/dead-letters"
_PARKED = "/ops/parked"


class DeadLettersClient(ApiClient):
    """Speaks to one API, and tries again while it is away or says 503. Raises as `cli.client.Client` does.

    All it asks for can be asked twice: an edit or a discard that was done already says that the letter is not open.
    """

    def letters(self, selection: Answer) -> Iterator[Answer]:
        """Give every letter that fits, page by page."""
        path, query = _PATH, selection
        while path:
            response = self._http.patiently(lambda path=path, query=query: self._page(path, query))  # type: ignore[misc]
            yield from checked(response)
            path, query = response.links.get("next", {}).get("url", ""), {}

    def letter(self, letter_id: str) -> Answer:
        return self._http.patiently(lambda: self._http.request("GET", f"{_PATH}/{letter_id}"))

    def edit(self, letter_id: str, edit: Answer) -> Answer:
        return self._http.patiently(lambda: self._http.request("PATCH", f"{_PATH}/{letter_id}", json=edit))

    def discard(self, letter_id: str, why: str, by: str) -> None:
        query = {"why": why, "by": by}

        def ask() -> None:
            response = self._http.send("DELETE", f"{_PATH}/{letter_id}", params=query)
            if not response.is_success:
                checked(response)

        self._http.patiently(ask)

    def replay(self, replay: Answer) -> Answer:
        """Replay as much as one request does; its `cursor` is where the next one goes on."""
        return self._http.patiently(lambda: self._http.request("POST", f"{_PATH}/replay", json=replay))

    def parked(self) -> list[Answer]:
        """How many messages of each stream are parked."""
        found: list[Answer] = self._http.patiently(lambda: checked(self._http.send("GET", _PARKED)))
        return found

    def release(self, stream: str, limit: int) -> Answer:
        """Have parked messages tried again, as many as one request does."""
        release = {"stream": stream, "limit": limit}
        return self._http.patiently(lambda: self._http.request("POST", f"{_PARKED}/release", json=release))

    def _page(self, path: str, query: Answer) -> httpx.Response:
        return self._http.send("GET", path, params=query) if query else self._http.send("GET", path)
