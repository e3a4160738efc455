"""The production server: gunicorn with threads, on loopback addresses only.

Gunicorn and not waitress, because `workers` asks for several processes over one log, because it ends gracefully on
SIGTERM by itself, and because it opens the docket in each worker after the fork: engine handles, database
connections and locks must not be carried over a fork. What waitress has over it, Windows, durable-rules lacks too.
"""

from __future__ import annotations

import ipaddress
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from byreport.docket import Docket
from byreport.live import Live
from byreport.web.app import create_app

REQUEST_SECONDS = 120
"""A worker that has not answered its own process for this long is replaced."""

_ACCESS_LOG = '%(t)s "%(m)s %(U)s" %(s)s %(B)s bytes %(M)s ms'  # neither bodies, nor query strings, nor headers


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
    threads: int = 4,
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
        "worker_class": "gthread",
        "timeout": REQUEST_SECONDS,
        "graceful_timeout": 30,
        "proc_name": "byreport",
        "accesslog": "-",
        "access_log_format": _ACCESS_LOG,
        "errorlog": "-",
        "loglevel": "warning",
        "forwarded_allow_ips": "",
        "control_socket_disable": True,  # newer gunicorns listen on a control socket unless told not to
    }


def _say(line: str) -> None:
    """A line between those of the requests, which go to standard output too."""
    print(f"{time.strftime('[%d/%b/%Y:%H:%M:%S %z]')} {line}", flush=True)


def _end_gracefully(worker: Any) -> None:
    """Ctrl-C reaches every process of the terminal; a worker takes it as the request to finish, not to drop."""
    signal.signal(signal.SIGINT, worker.handle_exit)
