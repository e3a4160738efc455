"""The production server: Granian, on loopback addresses only.

Granian reads requests and writes answers in compiled code, and hands each request, not each connection, to a thread of
Python's. Each of its processes opens a docket of its own after the fork: engine handles, database connections and locks
must not be carried over one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

from byreport.docket import Docket
from byreport.live import Live
from byreport.web.app import create_app
from byreport.web.loopback import AddressRefused, loopback

STOP_SECONDS = 30
"""How long requests under way may take when the server is told to stop."""


def serve(
    open_docket: Callable[[], Docket],
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 8,
    workers: int = 1,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    `open_docket` opens a docket of its own for each of the `workers` processes; where processes are not forked it has
    to be picklable. It is called once before, so that a fault of the rules or the log ends the call with its own error
    and not in a worker. Raises SystemExit(2), with a message on standard error, for an address that is not loopback.
    """
    try:
        address = loopback(host)
    except AddressRefused as error:
        print(f"byreport: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    open_docket().close()
    # Granian takes a while to import, which no other command needs.
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels

    Granian(
        "byreport",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        workers=workers,
        blocking_threads=threads,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.error,
    ).serve(target_loader=partial(_application, open_docket), wrap_loader=False)


def _application(open_docket: Callable[[], Docket]) -> Callable[..., Iterable[bytes]]:
    """The application of one process, and what ends with the process."""
    # Ctrl-C reaches every process of the terminal; the first process tells the others to finish.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    docket = open_docket()
    live = Live(docket, _say)
    live.start()
    # Last registered, first called; both with the process that multiprocessing ends, which atexit is not.
    Finalize(None, docket.close, exitpriority=1)
    Finalize(None, live.close, exitpriority=2)
    return _logged(create_app(docket, live))


def _end_with_the_first() -> None:
    """Finish when the process that started this one was killed."""
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _logged(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application, with a line of the log for each request."""

    def respond(environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        began = time.monotonic()
        answer: list[Any] = []

        def started(status: str, headers: list[tuple[str, str]], fault: Any = None) -> Any:
            answer[:] = status, headers
            return start(status, headers, fault)

        body = application(environ, started)
        status, headers = answer
        length = next((value for name, value in headers if name == "Content-Length"), None)
        if length is not None:
            # In one piece, which the server sends faster than an iterable.
            pieces, close = list(body), getattr(body, "close", None)
            if close is not None:
                close()
            body = pieces
        _say(_request_line(environ, status, length, time.monotonic() - began))
        return body

    return respond


def _request_line(environ: Mapping[str, Any], status: str, length: str | None, seconds: float) -> str:
    """What is logged of a request: neither bodies, nor query strings, nor headers."""
    path = ascii(environ["PATH_INFO"])[1:-1].replace('"', '\\"')
    return f'"{environ["REQUEST_METHOD"]} {path}" {status[:3]} {length or "?"} bytes {int(seconds * 1000)} ms'


def _say(line: str) -> None:
    """A line between those of the requests, which go to standard output too."""
    # In one piece, because threads and processes share the output.
    sys.stdout.write(f"{time.strftime('[%d/%b/%Y:%H:%M:%S %z]')} {line}\n")
    sys.stdout.flush()
