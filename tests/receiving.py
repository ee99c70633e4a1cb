"""A receiver of messages on this machine, for apprise's `json://`: it takes, refuses, fails or hangs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "s3cretT0ken"  # noqa: S105 - what must never be shown
PATIENCE_SECONDS = 10.0  # what a test waits for something to happen, at most


class Receiver:
    """Keeps what is posted to it; `answer` is the status of its replies, None: it never replies."""

    def __init__(self) -> None:
        self.answer: int | None = 200
        self.taken: list[dict[str, str]] = []
        self.asked = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver._hear(message)
                if receiver.answer is None:
                    receiver._ended.wait()
                    return
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_port}/{TOKEN}?rto=0.3"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _hear(self, message: dict[str, str]) -> None:
        with self._changed:
            self.asked += 1
            if self.answer == 200:
                self.taken.append(message)
            self._changed.notify_all()

    def await_asked(self, count: int) -> None:
        """Until so many messages were posted, taken or not."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= count, PATIENCE_SECONDS)

    @property
    def bodies(self) -> list[str]:
        return [message["message"] for message in self.taken]

    def end(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
