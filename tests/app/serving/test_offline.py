"""Nothing leaves the machine."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import os, socket, threading
from microexpr.app.serving.offline import stay_offline

stay_offline()
assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"

def refused(attempt):
    try:
        attempt()
    except PermissionError as error:
        assert "no outside request" in str(error), error
        return True
    return False

tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
assert refused(lambda: tcp.connect(("192.0.2.1", 80)))
assert refused(lambda: tcp.connect_ex(("192.0.2.1", 80)))
assert refused(lambda: udp.sendto(b"x", ("192.0.2.1", 53)))
assert refused(lambda: socket.create_connection(("example.org", 443), timeout=1))
assert refused(lambda: socket.gethostbyname("example.org"))

with socket.create_server(("127.0.0.1", 0)) as listening:
    with socket.create_connection(listening.getsockname()) as here:
        assert here.getpeername() == listening.getsockname()
left, right = socket.socketpair()
left.send(b"x")
assert right.recv(1) == b"x"
print("stays at home")
"""


def test_no_connection_but_to_itself() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.stdout == "stays at home\n", done.stderr
