"""A stand-in for the Hugging Face hub on the loopback: the requests that push and pull make.

Repositories live in memory. What it answers was written after `huggingface_hub` 2.4, by what that
client asks and reads; every file is taken in the commit itself ("regular", no large file storage).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class Hub(ThreadingHTTPServer):
    """What has been pushed: repository -> path -> bytes; and who asked for what."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.private, self.asked, self.tokens = {}, {}, [], set()
        self.refuses = False

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):  # noqa: N802
        self.do_GET()

    def do_GET(self):  # noqa: N802
        path = self._noted()
        if "/resolve/" in path:
            repository, _, rest = path.strip("/").partition("/resolve/")
            files = self.server.repositories.get(repository)
            data = None if files is None else files.get(rest.partition("/")[2])
            if data is None:
                kind = "RepoNotFound" if files is None else "EntryNotFound"
                return self._answer({"error": kind}, 404, {"X-Error-Code": kind})
            etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self._send(data, 200, {"Content-Type": "application/octet-stream", **etag})
        if path.startswith("/api/models/"):
            repository = "/".join(path.split("/")[3:5])
            files = self.server.repositories.get(repository)
            if files is None:
                return self._answer({"error": "no"}, 404, {"X-Error-Code": "RepoNotFound"})
            if "/tree/" in path:
                return self._answer(
                    [
                        {"type": "file", "path": p, "size": len(d), "oid": "0"}
                        for p, d in files.items()
                    ]
                )
            siblings = [{"rfilename": name} for name in files]
            return self._answer({"id": repository, "sha": COMMIT, "siblings": siblings})
        return self._answer({"error": "no"}, 404)

    def do_POST(self):  # noqa: N802
        path, body = self._noted(), self._body()
        if self.server.refuses:
            return self._answer({"error": "You have no write access here"}, 403)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            self.server.private[repository] = bool(
                asked.get("private") or asked.get("visibility") == "private"
            )
            self.server.repositories.setdefault(repository, {})
            return self._answer({"url": f"{self.server.address}/{repository}", "id": repository})
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        repository = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return self._answer({"files": files, "commitOid": COMMIT})
        if "/commit/" in path:
            self._commit(self.server.repositories[repository], body)
            url = f"{self.server.address}/{repository}/commit/{COMMIT}"
            return self._answer({"commitUrl": url, "commitOid": COMMIT, "success": True})
        return self._answer({"error": "no"}, 404)

    def _commit(self, files, body):
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
            else:
                assert entry["key"] == "header", entry

    def _noted(self):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        self.server.tokens.add(self.headers.get("Authorization"))
        return path

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(self, value, status=200, headers=None):
        self._send(
            json.dumps(value).encode(),
            status,
            {"Content-Type": "application/json", **(headers or {})},
        )

    def _send(self, data, status, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format, *args):  # noqa: A002
        """Nothing."""


@contextmanager
def serving():
    """A hub, as long as it is needed."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
