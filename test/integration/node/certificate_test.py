"""A role that wants a certificate is had with one and the token together, through every door."""

import os
import socket
import ssl
import subprocess
import unittest

import node

NAME = "uri:spiffe://shop.example/checkout"
CONFIG = """
tls: {certificate: server.pem, key: server.key, client_ca: clients.pem}
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout, certificate: "%s"}]
    postgres: {databases: [shop]}
    redis: {read: ["*"]}
    nats: {publish: ["orders.>"]}
  plain:
    bind: [{issuer: meridian, subject: plain}]
    postgres: {databases: [shop]}
    redis: {read: ["*"]}
""" % NAME


class CertificateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.Node(CONFIG)
        cls.addClassCleanup(cls.node.close)
        cls.make("server", "/CN=localhost", "IP:127.0.0.1")
        cls.make("clients", "/CN=authority of clients")
        cls.make("strangers", "/CN=authority of nobody")
        cls.make("good", "/CN=checkout", "URI:spiffe://shop.example/checkout", authority="clients")
        # The right name, but in another place.
        cls.make("other", "/CN=spiffe:\\/\\/shop.example\\/checkout", "DNS:shop.example", authority="clients")
        cls.make("stranger", "/CN=checkout", "URI:spiffe://shop.example/checkout", authority="strangers")
        cls.node.start()
        cls.checkout = cls.node.token("checkout")
        cls.plain = cls.node.token("plain")

    @classmethod
    def make(cls, name, subject, alternative=None, authority=None):
        root = cls.node.root
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject,
                   "-keyout", root / f"{name}.key", "-out", root / f"{name}.pem"]
        if alternative:
            command += ["-addext", f"subjectAltName={alternative}"]
        if authority:
            command += ["-CA", root / f"{authority}.pem", "-CAkey", root / f"{authority}.key"]
        subprocess.run(command, check=True, capture_output=True)
        os.chmod(root / f"{name}.key", 0o600)

    def file(self, name):
        return str(self.node.root / name)

    def psql(self, certificate, token, role="checkout", verify=True):
        host, port = self.node.doors["postgres"]
        # A certificate that is not there, or libpq would look for one in the home folder.
        shown = certificate or "none"
        where = (f"host={host} port={port} user={role} dbname=shop sslmode=verify-full sslrootcert={self.file('server.pem')}"
                 f" sslcert={self.file(shown + '.pem')} sslkey={self.file(shown + '.key')}")
        if not verify:
            where = f"host={host} port={port} user={role} dbname=shop sslmode=disable"
        return subprocess.run(["psql", where, "-XAtc", "SELECT session_user"], env={**os.environ, "PGPASSWORD": token},
                              capture_output=True, text=True, timeout=node.PATIENCE)

    def redis(self, certificate, token, role="checkout"):
        host, port = self.node.doors["redis"]
        command = ["redis-cli", "-h", host, "-p", str(port), "--tls", "--cacert", self.file("server.pem")]
        if certificate:
            command += ["--cert", self.file(certificate + ".pem"), "--key", self.file(certificate + ".key")]
        done = subprocess.run([*command, "AUTH", role, token], capture_output=True, text=True, timeout=node.PATIENCE)
        return (done.stdout + done.stderr).strip()

    def nats(self, certificate, token):
        """The server's answer to CONNECT and PING, or what TLS said."""
        context = ssl.create_default_context(cafile=self.file("server.pem"))
        if certificate:
            context.load_cert_chain(self.file(certificate + ".pem"), self.file(certificate + ".key"))
        with socket.create_connection(self.node.doors["nats"], timeout=30) as plain:
            received = b""
            while not received.endswith(b"\r\n"):
                received += plain.recv(1)
            try:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
                    stream.sendall(b'CONNECT {"verbose":false,"auth_token":"%s"}\r\nPING\r\n' % token.encode())
                    answer = b""
                    while True:
                        some = stream.recv(4096)
                        answer += some
                        if not some or b"PONG" in answer or b"-ERR" in answer:
                            return answer.decode()
            except OSError as failure:
                return f"TLS: {failure}"

    def test_with_the_certificate_and_the_token(self):
        done = self.psql("good", self.checkout)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "checkout"), done.stderr)
        self.assertEqual(self.redis("good", self.checkout), "OK")
        self.assertIn("PONG", self.nats("good", self.checkout))

    def test_without_one(self):
        done = self.psql(None, self.checkout)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"wants the certificate {NAME}", done.stderr)
        self.assertIn("WRONGPASS", self.redis(None, self.checkout))
        self.assertIn("-ERR", self.nats(None, self.checkout))
        # Nor in clear from this machine, where a token is taken.
        self.assertIn("wants the certificate", self.psql(None, self.checkout, verify=False).stderr)

    def test_with_another_name(self):
        self.assertIn("wants the certificate", self.psql("other", self.checkout).stderr)
        self.assertIn("WRONGPASS", self.redis("other", self.checkout))
        self.assertIn("-ERR", self.nats("other", self.checkout))

    def test_of_another_authority(self):
        self.assertNotEqual(self.psql("stranger", self.checkout).returncode, 0)
        self.assertNotIn("OK", self.redis("stranger", self.checkout).split())
        self.assertIn("TLS", self.nats("stranger", self.checkout))

    def test_it_does_not_make_up_for_a_token(self):
        self.assertNotEqual(self.psql("good", self.plain).returncode, 0)
        self.assertIn("WRONGPASS", self.redis("good", self.plain))

    def test_roles_that_want_none(self):
        for certificate in (None, "good"):
            done = self.psql(certificate, self.plain, role="plain")
            self.assertEqual((done.returncode, done.stdout.strip()), (0, "plain"), done.stderr)
            self.assertEqual(self.redis(certificate, self.plain, role="plain"), "OK")

    def test_the_trail_says_which_binding(self):
        self.assertEqual(self.redis("good", self.checkout), "OK")
        node.wait_until(lambda: f"certificate {NAME}" in self.node.run("audit", "search", "--subject", "checkout"), "the admission is on the trail")


if __name__ == "__main__":
    node.main()
