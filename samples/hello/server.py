"""The web service of this sample: greets, and says which replica it is. Plain Python, nothing of reconcile's."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Greeter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{os.environ.get('GREETING', 'Hi')} from {os.environ['POD_NAME']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that a request being answered is finished before the process ends


def stop(*_: object) -> None:
    raise SystemExit(0)


signal.signal(signal.SIGTERM, stop)
address = (os.environ["POD_IP"], int(os.environ["PORT"]))
with Server(address, Greeter) as server:
    sys.stdout.write(f"listening on http://{address[0]}:{address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
