"""Runs the API: `python -m api`."""

import gc
import signal
import sys

import uvicorn

from api.app import create_app
from api.connections import bounded_protocol
from shared import logs
from shared.config import load
from shared.errors import Misconfigured
from shared.tasks import exit_code

#: Time for requests in hand when told to stop; longer than `wait=` may take, shorter than a supervisor waits.
GRACE_SECONDS = 35
#: New objects between two collections; the interpreter's own 700 is for short scripts.
GC_THRESHOLD = 50_000


def main() -> int:
    try:
        settings = load()
        logs.configure(settings.log_level, as_json=settings.log_json)
        app = create_app(settings)
    except Misconfigured as error:
        print(f"weir api: {error}", file=sys.stderr)  # noqa: T201
        return 1
    # What is there now stays: the collector need not look at it again, nor run after every few hundred objects, which
    # under load is several times per group.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    # uvicorn drains at SIGTERM and then raises it again; drained is no failure, unless a task's death was the reason.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exit_code()))
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        ws="none",
        http=bounded_protocol(settings.connection_limit, settings.head_deadline),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody here asks for a client's address
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return exit_code()


if __name__ == "__main__":
    sys.exit(main())
