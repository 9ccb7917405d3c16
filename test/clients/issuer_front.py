"""Stands between a node and its OIDC providers, and answers in their place as it is told.

    issuer_front.py NAME...

Says the port of each name in a line of JSON. Each line on its standard input is a JSON object and is answered by one:

    {"upstreams": {"NAME": PORT}}         where the providers listen
    {"name": "NAME", "mode": "MODE"}      how to answer from now on; the modes are the methods below
    {"name": "NAME", "asked": true}       how often which path was asked for since the last time
"""

import collections
import http.client
import http.server
import json
import socket
import sys
import threading
import time

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/jwks"
# How long a connection is kept that is answered slowly or not at all: longer than anybody should wait.
STALL_SECONDS = 30


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        front = self.server.front
        with front.lock:
            front.asked[self.path] += 1
        getattr(self, front.mode)()

    def do_POST(self):
        self.forward()

    def upstream(self):
        """The provider's answer: status, headers, body."""
        front = self.server.front
        connection = http.client.HTTPConnection("127.0.0.1", front.upstream, timeout=STALL_SECONDS)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def forward(self):
        status, headers, body = self.upstream()
        self.answer(body, status, headers.get("Content-Type", headers.get("content-type", "application/json")))

    def answer(self, body, status=200, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # Modes. What is not lied about is the provider's.

    good = forward

    def slow(self):
        """Reads its documents first, and takes a while to send them."""
        status, _, body = self.upstream()
        time.sleep(2)
        self.answer(body, status)

    def failing(self):
        self.answer({"error": "server_error"}, 503)

    def silent(self):
        time.sleep(STALL_SECONDS)
        self.close_connection = True

    def dripping(self):
        """A byte now and then, as if it were almost done."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(STALL_SECONDS * 2):
            self.wfile.write(b" ")
            time.sleep(0.5)

    def another_issuer(self):
        self.lie_in_discovery(issuer="https://login.elsewhere.example")

    def keys_in_a_file(self):
        self.lie_in_discovery(jwks_uri="file:///etc/passwd")

    def keys_missing(self):
        self.lie_in_discovery(jwks_uri=None)

    def lie_in_discovery(self, **lies):
        """What was discovered before is not to be good enough: keys fail."""
        if self.path != DISCOVERY:
            return self.failing()
        document = {**json.loads(self.upstream()[2]), **lies}
        self.answer({name: value for name, value in document.items() if value is not None})

    def discovery_redirected(self):
        if self.path == DISCOVERY:
            self.answer(b"", 302, Location="/elsewhere" + DISCOVERY)
        else:
            self.failing()

    def keys_redirected(self):
        if self.path == KEYS:
            self.answer(b"", 307, Location="/elsewhere" + KEYS)
        else:
            self.forward()

    def lie_in_keys(self, keys, **more):
        if self.path == KEYS:
            self.answer(keys, **more)
        else:
            self.forward()

    def huge_keys(self):
        """Good keys behind very many others."""
        if self.path != KEYS:
            return self.forward()
        keys = json.loads(self.upstream()[2])["keys"]
        filler = [{**keys[0], "kid": f"filler-{n}"} for n in range(2000)]
        self.answer({"keys": filler + keys})

    def many_keys(self):
        """Few bytes, but more keys than one issuer may have."""
        self.lie_in_keys({"keys": [{"kty": "oct"}] * 1000})

    def endless_keys(self):
        if self.path != KEYS:
            return self.forward()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"c\r\n{\"keys\": [  \r\n")
        while True:
            self.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")

    def endless_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write((b"X-More: " + b"m" * 1000 + b"\r\n") * 100)

    def weak_keys(self):
        """Keys that would let anybody who reads them sign, or that are none."""
        self.lie_in_keys({"keys": [
            {"kty": "oct", "kid": "hmac", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
            {"kty": "oct", "kid": "none", "alg": "none", "k": ""},
            {"kty": "RSA", "kid": "small", "alg": "RS256", "e": "AQAB", "n": "s" * 171},
            {"kty": "EC", "kid": "off", "alg": "ES256", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        ]})

    def empty_keys(self):
        self.lie_in_keys({"keys": []})

    def web_page(self):
        self.answer(b"<!doctype html><title>Sign in to continue</title>", kind="text/html")

    def cut_off(self):
        """Less than was promised."""
        if self.path != KEYS:
            return self.forward()
        body = self.upstream()[2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2])
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # Who asked has hung up; in most modes that is what is wanted.


class Front:
    def __init__(self):
        self.lock = threading.Lock()
        self.asked = collections.Counter()
        self.mode = "good"
        self.upstream = 0
        self.server = None
        # Held while it is down too, so that nobody else gets the port: bound, but not listening.
        self.port = self.listen(0)

    def listen(self, port):
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.front = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self.server.server_address[1]

    def change(self, mode):
        if mode == "down" and self.mode != "down":
            self.server.shutdown()
            self.server.server_close()
            self.placeholder = socket.socket()
            self.placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.placeholder.bind(("127.0.0.1", self.port))
        elif mode != "down" and self.mode == "down":
            self.placeholder.close()
            self.listen(self.port)
        self.mode = mode


def main():
    fronts = {name: Front() for name in sys.argv[1:]}
    print(json.dumps({name: front.port for name, front in fronts.items()}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        answer = {}
        for name, port in order.get("upstreams", {}).items():
            fronts[name].upstream = port
        if "mode" in order:
            fronts[order["name"]].change(order["mode"])
        if "asked" in order:
            front = fronts[order["name"]]
            with front.lock:
                answer, front.asked = dict(front.asked), collections.Counter()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
