"""Asks the API questions, and waits for their answers."""

from cli.client import Client
from cli.http import Answer, ComeAgain, checked
from shared.errors import WeirError


class QuestionsClient(Client):
    """A client that asks about readings and events. Raises as `Client` does."""

    def statistics(self, path: str, **asked: str | None) -> Answer:
        """Ask for statistics under this path, such as /devices/ID/analytics/, in the words of the API's query."""
        query = {"wait": "10"} | {name: value for name, value in asked.items() if value is not None}
        job = self._http.patiently(lambda: self._http.request("GET", path, params=query))
        return self._result(job["task_id"])

    def of_events(self, path: str, **asked: str | int | None) -> Answer | list[Answer]:
        """Ask a question about events, such as /stats/dau; return the bare answer."""
        query = {name: value for name, value in asked.items() if value is not None}

        def ask() -> tuple[Answer, bool]:
            response = self._http.send("GET", path, params=query)
            return checked(response), response.status_code == 202  # noqa: PLR2004 - Accepted: it is a task as yet

        answer, is_task = self._http.patiently(ask)
        return self._result(answer["task_id"])[_PARTS[path]] if is_task and path in _PARTS else answer

    def _result(self, task_id: str) -> Answer:
        """Wait for a task. Raises WeirError when it ends without a result."""

        def fetch() -> Answer:
            task = self._http.request("GET", f"/tasks/{task_id}")
            if task["status"] in {"PENDING", "STARTED"}:
                raise ComeAgain("the job is submitted, but no worker has answered it yet")
            return task

        task = self._http.patiently(fetch)
        if task["status"] == "FAILURE":
            raise WeirError(f"the job failed: {task['error']}")
        if task["status"] == "CANCELLED":
            raise WeirError("somebody cancelled the job")
        result: Answer = task["result"]
        return result


#: Of a task's result, what its page answers with.
_PARTS = {"/stats/dau": "days", "/stats/top-events": "events"}
