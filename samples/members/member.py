"""A member of a group: it knows its own name, who leads, and how often it was started before."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NAME, LEADER = os.environ["POD_NAME"], os.environ["LEADER"]
ROLE = "the leader" if NAME == LEADER else f"a follower of {LEADER}"
STARTS = Path(os.environ["DATA"], "starts")
STARTS.open("a").write("x")


class Hello(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Say who this is."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{NAME} is {ROLE}, started {len(STARTS.read_text())} times\n".encode())


HTTPServer((os.environ["POD_IP"], 8080), Hello).serve_forever()
