"""The production server: gunicorn with threads, on loopback addresses only.

Gunicorn and not waitress, because `workers` asks for several processes over one log, because it ends gracefully on
SIGTERM by itself, and because it opens the docket in each worker after the fork: engine handles, database
connections and locks must not be carried over a fork. What waitress has over it, Windows, durable-rules lacks too.
"""

from __future__ import annotations

import ipaddress
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from byreport.docket import Docket
from byreport.live import Live
from byreport.web.app import create_app

REQUEST_SECONDS = 120
"""A worker that has not answered its own process for this long is replaced."""

YIELD_SECONDS = 0.0005
"""How long a process waits for each request it is busy with, up to four, before it takes a new connection."""
NEXT_REQUEST_SECONDS = 0.003
"""How long a thread that has answered waits for the next request on the same connection before it goes elsewhere."""


class AddressRefused(ValueError):
    """The address is not a loopback address."""


def loopback(host: str) -> str:
    """The loopback address that `host` names, ready to bind. Raises AddressRefused for any other address."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise AddressRefused(
            f"{host!r} is not a loopback address. byreport has no access control yet: whoever reaches the port can "
            "read every decision. Use 127.0.0.1, ::1 or localhost."
        )
    return f"[{address}]" if address.version == 6 else str(address)


def serve(
    open_docket: Callable[[], Docket],
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 16,
    workers: int = 1,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    `open_docket` opens a docket of its own for each of the `workers` processes, after the fork. It is called once
    before, so that a fault of the rules or the log ends the call with its own error and not in a worker. Raises
    SystemExit(2), with a message on standard error, for an address that is not loopback.
    """
    try:
        bind = f"{loopback(host)}:{port}"
    except AddressRefused as error:
        print(f"byreport: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    open_docket().close()
    _run(open_docket, bind, threads, workers)


def _run(open_docket: Callable[[], Docket], bind: str, threads: int, workers: int) -> None:
    # gunicorn reads the user and group databases when it is imported, which no other command needs.
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
    from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
    from gunicorn.glogging import Logger  # type: ignore[import-untyped]
    from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

    class Worker(ThreadWorker):  # type: ignore[misc]
        """Stays with a connection whose client asks again at once, unless another one waits for a thread.

        Between two requests gunicorn gives every connection back to the thread that waits for all of them, which costs
        more than deciding a line.
        """

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            # Only how many there are counts; threads may add and remove without a lock.
            self.waiting: deque[None] = deque()
            self.busy: deque[None] = deque()

        def accept(self, *arguments: Any) -> None:
            """Leaves a new connection to a process with less to do; it stays where it was accepted."""
            if workers > 1 and self.busy:
                time.sleep(min(len(self.busy), 4) * YIELD_SECONDS)
            super().accept(*arguments)

        def enqueue_req(self, connection: Any) -> None:
            self.waiting.append(None)
            super().enqueue_req(connection)

        def handle(self, connection: Any) -> Any:
            self.busy.append(self.waiting.popleft())
            try:
                kept = super().handle(connection)
                # True is gunicorn's word for a connection that is kept.
                while kept is True and self.alive and not self.waiting and _asked_again(connection.sock):
                    kept = super().handle(connection)
                return kept
            finally:
                self.busy.pop()

    class RequestLog(Logger):  # type: ignore[misc]
        def access(self, resp: Any, req: Any, environ: Any, request_time: timedelta) -> None:
            """One line for each request; gunicorn's own way gathers all headers for each."""
            _say(_request_line(resp, environ, request_time))

    class Master(Arbiter):  # type: ignore[misc]
        def handle_int(self) -> None:
            """Ctrl-C ends as gracefully as SIGTERM."""
            raise StopIteration

    class Server(BaseApplication):  # type: ignore[misc]
        docket: Docket | None = None
        live: Live | None = None

        def load_config(self) -> None:
            for name, value in _settings(bind, threads, workers).items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)
            self.cfg.set("worker_class", Worker)
            self.cfg.set("logger_class", RequestLog)
            self.cfg.set("worker_exit", lambda _server, _worker: self.close())
            self.cfg.set("post_worker_init", _end_gracefully)

        def load(self) -> Any:
            self.docket = open_docket()
            self.live = Live(self.docket, _say)
            self.live.start()
            return create_app(self.docket, self.live)

        def close(self) -> None:
            if self.live is not None:
                self.live.close()
                self.live = None
            if self.docket is not None:
                self.docket.close()
                self.docket = None

        def run(self) -> None:
            Master(self).run()

    Server().run()


def _settings(bind: str, threads: int, workers: int) -> dict[str, Any]:
    return {
        "bind": [bind],
        "workers": workers,
        "threads": threads,
        "timeout": REQUEST_SECONDS,
        "graceful_timeout": 30,
        "proc_name": "byreport",
        "errorlog": "-",
        "loglevel": "warning",
        "forwarded_allow_ips": "",
        "control_socket_disable": True,  # newer gunicorns listen on a control socket unless told not to
    }


def _asked_again(connection: socket.socket) -> bool:
    """Whether a client sends its next request within moments. Whoever waits for a thread waits that long at most."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(NEXT_REQUEST_SECONDS * 1000))


def _request_line(response: Any, environ: Mapping[str, Any], took: timedelta) -> str:
    """What is logged of a request: neither bodies, nor query strings, nor headers."""
    path = ascii(environ["PATH_INFO"])[1:-1].replace('"', '\\"')
    status = str(response.status).split(" ", 1)[0]
    return f'"{environ["REQUEST_METHOD"]} {path}" {status} {response.sent} bytes {took // timedelta(milliseconds=1)} ms'


def _say(line: str) -> None:
    """A line between those of the requests, which go to standard output too."""
    # In one piece, because threads and processes share the output.
    sys.stdout.write(f"{time.strftime('[%d/%b/%Y:%H:%M:%S %z]')} {line}\n")
    sys.stdout.flush()


def _end_gracefully(worker: Any) -> None:
    """Ctrl-C reaches every process of the terminal; a worker takes it as the request to finish, not to drop."""
    signal.signal(signal.SIGINT, worker.handle_exit)
