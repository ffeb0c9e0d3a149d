"""A member of a group: it knows its own name, and who leads."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

NAME, LEADER = os.environ["POD_NAME"], os.environ["LEADER"]
ROLE = "the leader" if NAME == LEADER else f"a follower of {LEADER}"


class Hello(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Say who this is."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{NAME} is {ROLE}\n".encode())


HTTPServer((os.environ["POD_IP"], 8080), Hello).serve_forever()
