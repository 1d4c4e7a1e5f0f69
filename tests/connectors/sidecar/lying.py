"""A server that answers every request with given bytes, whatever they are: for clients that must not believe them."""

import re
import socketserver
import threading
from contextlib import contextmanager

CLOSE, HANG = "close", "hang"


def answer(body=b"", status="200 OK", kind="application/octet-stream", length=None, **headers):
    """An HTTP answer, the last of its connection; `length` is what it says of itself, where that is not the truth."""
    named = {"Content-Type": kind, "Content-Length": len(body) if length is None else length, "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def lying(reply, then=CLOSE):
    """Its URL. `reply` is sent to every request, or what it returns for the request's first line."""
    ended = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            request = b""
            while b"\r\n\r\n" not in request:
                if not (piece := self.request.recv(1 << 16)):
                    return
                request += piece
            head, body = request.split(b"\r\n\r\n", 1)
            length = re.search(rb"(?i)content-length: (\d+)", head)
            missing = int(length[1]) - len(body) if length else 0
            while missing > 0:
                missing -= len(self.request.recv(1 << 16))
            self.request.sendall(reply(head.split(b"\r\n")[0].decode()) if callable(reply) else reply)
            if then == HANG:
                ended.wait(30)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()
