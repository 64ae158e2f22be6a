"""A page on this machine alone to steer a dream from, see `dream.Dream`.

    GET  /TOKEN/          the page, which needs nothing else
    POST /TOKEN/about     what stays the same
    POST /TOKEN/VERB      look, reset, step, anchor: the moment after it

Anybody who can open a page in the person's browser can send requests to this port. So the address
holds a token that nobody can guess, the Host must be the loopback (a name that an attacker's DNS
leads here is not), a foreign Origin is refused, and no answer allows another site to read it. No
path leads to a file.
"""

from __future__ import annotations

import errno
import json
import secrets
import socketserver
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dreamer_plugin.errors import UsageError
from dreamer_plugin.study.dream import Dream

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "dream.html"
_MOST = 64 << 10  # bytes of a request's body
_PATIENCE = 20  # seconds for a client that does not go on
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class DreamServer(ThreadingHTTPServer):
    """Serves one dream on the loopback.

    Args:
        make: of the dream. It is made, called and closed by one thread, since what draws an env
            often belongs to a thread; so requests wait for each other, too.
        port: to listen at, 0 for a free one.

    Raises:
        UsageError: when the port cannot be used, or what `make` raises.
    """

    daemon_threads = True

    def __init__(self, make: Callable[[], Dream], port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"failed: {error.strerror}"
            free = "leave out --port for a free one"
            raise UsageError(f"Port {port} of {HOST} {why}: name another, or {free}.") from error
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self._worker = ThreadPoolExecutor(1)
        try:
            self._dream = self._worker.submit(make).result()
        except BaseException:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Listen; without the look-up of a name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def answer(self, verb: str, asked: dict[str, Any]) -> Any:
        """What a request gives; arguments as of the verbs of `Dream`."""
        call = _VERBS[verb]
        return self._worker.submit(call, self._dream, asked).result()

    def server_close(self) -> None:
        """Stop listening, and let the dream go."""
        super().server_close()
        if hasattr(self, "_dream"):
            self._worker.submit(self._dream.close)
        if hasattr(self, "_worker"):
            self._worker.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _step(dream: Dream, asked: dict[str, Any]) -> Any:
    action = asked.get("action")
    return dream.step(str(asked.get("by")), action if isinstance(action, dict) else None)


_VERBS: dict[str, Callable[[Dream, dict[str, Any]], Any]] = {
    "about": lambda dream, asked: dream.about(),
    "look": lambda dream, asked: dream.moment(),
    "reset": lambda dream, asked: dream.reset(),
    "anchor": lambda dream, asked: dream.anchor(),
    "step": _step,
}


class _Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP. message: for whoever sent it.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def _strict(answer: Any) -> str:
    """As JSON that every browser reads.

    Raises:
        UsageError: a number in it is not finite, which JSON cannot say.
    """
    try:
        return json.dumps(answer, allow_nan=False)
    except ValueError as error:
        raise UsageError(
            "A number of the env or the dream is not finite. Re-anchor or reset; where that does "
            "not help, the weights are damaged: choose another checkpoint with --which."
        ) from error


class _Handler(BaseHTTPRequestHandler):
    server: DreamServer
    timeout = _PATIENCE
    server_version, sys_version = "dreamer-plugin", ""

    def do_GET(self) -> None:  # noqa: N802, D102
        try:
            if self._verb() != "":
                raise _Refused(HTTPStatus.NOT_FOUND, "Nothing is here.")
            nonce = secrets.token_urlsafe(16)
            text = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce)
            policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", text, policy)
        except _Refused as refused:
            self._send(refused.status, "text/plain; charset=utf-8", f"{refused}\n")

    def do_POST(self) -> None:  # noqa: N802, D102
        status = HTTPStatus.OK
        try:
            verb = self._verb()
            if verb not in _VERBS:
                raise _Refused(HTTPStatus.NOT_FOUND, "Nothing is here.")
            text = _strict(self.server.answer(verb, self._asked()))
        except _Refused as refused:
            status, text = refused.status, _strict({"error": str(refused)})
        except UsageError as error:
            status, text = HTTPStatus.BAD_REQUEST, _strict({"error": str(error)})
        except Exception as error:  # an env raises whatever it likes; the page shows it
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            text = _strict({"error": f"{type(error).__name__}: {error}"})
        self._send(status, "application/json", text)

    def _verb(self) -> str:
        """What stands behind the token, of a request from the page or its person."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            raise _Refused(HTTPStatus.FORBIDDEN, "This server answers to the loopback alone.")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "This server answers to its own page alone.")
        token, slash, verb = self.path.removeprefix("/").partition("/")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if not known or not slash:
            raise _Refused(HTTPStatus.NOT_FOUND, "Nothing is here.")
        return verb

    def _asked(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
        size = self.headers.get("Content-Length", "")
        if not size.isascii() or not size.isdigit():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Say Content-Length.")
        if len(size) > 9 or int(size) > _MOST:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send at most {_MOST} bytes.")
        try:
            asked = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"That is no JSON: {error}") from error
        if not isinstance(asked, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Send an object.")
        return asked

    def _send(
        self, status: HTTPStatus, kind: str, text: str, more: dict[str, str] | None = None
    ) -> None:
        data = text.encode()
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **_HEADERS}
        self.send_response(status)
        for name, value in (headers | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the terminal is the person's."""
