"""Start the stand-in: python tests/alpaca_standin --state FILE.sqlite [--bars BARS.parquet] ... (see the package)."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alpaca_standin.app import api
from alpaca_standin.control import control
from alpaca_standin.desk import Desk
from alpaca_standin.formats import moment_of


class Protocol(HttpToolsProtocol):
    """HTTP that lets the application tear its connection down."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def listening(port: int) -> socket.socket:
    """A socket on loopback; port 0 is any free one."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio then sends without delay
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    return sock


def server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        app, http=Protocol, ws="none", lifespan="off", log_level="warning", access_log=False, timeout_keep_alive=600
    )
    config.timeout_graceful_shutdown = 1
    return uvicorn.Server(config)


def leave_with_parent() -> None:
    """Nothing is lost by leaving like this: every request ended with a commit."""
    if not os.read(0, 1024):
        os._exit(0)


async def serve(desk: Desk, port: int, control_port: int, with_parent: bool) -> None:
    """Both ports, until the process ends; the one line on stdout says that they listen."""
    if with_parent:
        asyncio.get_running_loop().add_reader(0, leave_with_parent)
    sockets = listening(port), listening(control_port)
    addresses = [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    print(json.dumps({"api": addresses[0], "control": addresses[1]}), flush=True)  # noqa: T201
    await asyncio.gather(
        server(api(desk)).serve(sockets=[sockets[0]]), server(control(desk)).serve(sockets=[sockets[1]])
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="alpaca_standin", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="SQLite file; made if absent, else gone on with")
    parser.add_argument("--bars", type=Path, help="Parquet table of minute bars")
    parser.add_argument("--clone", type=int, help="serve that many symbols, the file's own repeated under new names")
    parser.add_argument("--key", default="PKSTANDIN000000000AA")
    parser.add_argument("--secret", default="standinsecret00000000000000000000000000a")
    parser.add_argument("--now", type=moment_of, help="the virtual clock; default: the first bar")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--with-parent", action="store_true", help="end when stdin is closed")
    args = parser.parse_args()
    desk = Desk(args.state, args.bars, args.clone, (args.key, args.secret), args.now)
    gc.freeze()  # the bars are many objects, and none of them is ever garbage
    asyncio.run(serve(desk, args.port, args.control_port, args.with_parent))


if __name__ == "__main__":
    main()
