"""The broker's management API: what AMQP does not tell of queues, policies, alarms and disks."""

from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from shared.errors import BrokerUnavailable, Misconfigured, NotFound

#: Longest wait for an answer: connect, then each read.
_SECONDS = 3.0
NOT_CHECKED = "not checked: WEIR_MANAGEMENT_URL is not set"


class Management:
    """Asks the management API about one virtual host. It blocks: call it in a thread.

    Raises:
        BrokerUnavailable: it does not answer, or with nonsense.
        NotFound: there is no such queue.
        Misconfigured: the user may not look.
    """

    def __init__(self, management_url: str, amqp_url: str) -> None:
        self._url = management_url.rstrip("/")
        self.virtual_host = unquote(urlsplit(amqp_url).path[1:]) or "/"

    def get(self, path: str) -> Any:
        """Get what is below /api; `{vhost}` in the path is ours."""
        url = f"{self._url}/api/{path.replace('{vhost}', quote(self.virtual_host, safe=''))}"
        try:
            # Its host is the broker's own: no proxy stands between.
            answer = httpx.get(url, timeout=_SECONDS, trust_env=False)
            if answer.status_code in {401, 403}:
                raise Misconfigured("the management API refuses the user of WEIR_MANAGEMENT_URL")
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise NotFound("the management API knows no such thing")
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and path.startswith("health/"):
                return answer.json()  # how a health check says no
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # OSError: no descriptor is free
            raise BrokerUnavailable("the management API does not answer") from error

    def queue(self, name: str) -> dict[str, Any]:
        """Describe a queue: type, arguments, effective policy, messages."""
        found: dict[str, Any] = self.get(f"queues/{{vhost}}/{quote(name, safe='')}")
        return found
