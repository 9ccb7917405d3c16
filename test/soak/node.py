"""A node for a soak: its own ports, data folder and servers, and the ways in which they are made to fail.

Ends only what it started: Meridian by the process it holds, the servers behind by the process ids that their own files name.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test"))

from ports import free_port  # pylint: disable=wrong-import-position

# script/soak --preset sets it.
PRESET = os.environ.get("MERIDIAN_SOAK_PRESET", "release")
# The integration tests set this.
BUILD = pathlib.Path(os.environ.get("MERIDIAN_BUILD") or ROOT / "build" / PRESET)
MERIDIAN = BUILD / "src/meridian"
TESTS = BUILD / "test"
SHOP = ROOT / "examples/shop"
PSQL_TIMEOUT = 120


class SoakError(Exception):
    """The soak cannot go on: a finding in itself."""


def build(*targets):
    subprocess.run([str(ROOT / "script/build"), PRESET, *targets], check=True, stdout=subprocess.DEVNULL)


class Node:
    """Meridian with an owned PostgreSQL and Redis. `settings` is YAML that comes before the shop's roles and views."""

    def __init__(self, settings="", more_views="", reads=(), mutations=(), roles=""):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="meridian-soak."))
        self.home.chmod(0o711)
        self.data = self.home / "data"
        self.log = open(self.home / "node.log", "ab")
        self.ports = {door: free_port() for door in ("postgres", "redis", "http", "nats")}
        self.mutations = list(mutations)
        self.process = None
        self.starts = 0
        listen = "".join(f"  {door}: 127.0.0.1:{port}\n" for door, port in self.ports.items())
        shop = (SHOP / "meridian.yaml").read_text()
        extra = "".join(f', "{pattern}"' for pattern in reads)
        shop = shop.replace('"order:*", "order_sum:*"', f'"order:*"{extra}, "order_sum:*"')
        shop = shop.replace('forget: ["order:*"]', f'forget: ["order:*"{extra}]')
        shop = shop.replace("views:\n", roles + "views:\n" + more_views)
        self.config = self.home / "meridian.yaml"
        self.config.write_text(f"listen:\n{listen}limits:\n  failed_logins_per_minute: 100000\n  visits_per_address: 5000\n"
                               f"  unauthenticated_per_address: 2000\n{settings}{shop}")
        self.environment = dict(os.environ, MERIDIAN_DATA=str(self.data), MERIDIAN_CONFIG=str(self.config),
                                PSQLRC="/dev/null", PGCONNECT_TIMEOUT="10")
        # What a sanitizer has to say of any life of the node.
        for name in ("ASAN", "UBSAN", "LSAN", "TSAN"):
            before = os.environ.get(f"{name}_OPTIONS")
            self.environment[f"{name}_OPTIONS"] = (before + ":" if before else "") + f"log_path={self.home}/sanitizer"
        postgres = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        if postgres:
            self.environment["PATH"] = f"{MERIDIAN.parent}:{postgres[-1]}:{self.environment['PATH']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, seconds=180):
        command = [str(MERIDIAN), "up", *(word for name in self.mutations for word in ("--test-mutation", name))]
        self.starts += 1
        self.out = self.home / f"node.out.{self.starts}"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=self.log,
                                            start_new_session=True)
        end = time.monotonic() + seconds
        while b"\nStop:" not in self.out.read_bytes():
            if self.process.poll() is not None:
                raise SoakError(f"the node ended with {self.process.returncode}:\n{self.last_log()}")
            if time.monotonic() > end:
                raise SoakError(f"the node did not come up in {seconds} s:\n{self.last_log()}")
            time.sleep(0.05)

    def last_log(self, lines=15):
        return b"\n".join((self.home / "node.log").read_bytes().splitlines()[-lines:]).decode(errors="replace")

    def meridian(self, *words, check=True, text=None, timeout=PSQL_TIMEOUT):
        done = subprocess.run([str(MERIDIAN), *words], env=self.environment, input=text, text=True, capture_output=True,
                              timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise SoakError(f"meridian {' '.join(words[:2])} failed: {done.stderr.strip()[-500:]}")
        return done

    def sql(self, statement, *words, timeout=PSQL_TIMEOUT):
        """As the owner, past the doors."""
        return self.meridian("psql", "--owner", "--database", "shop", "--", "-qAtX", "-v", "ON_ERROR_STOP=1", *words, "-c", statement,
                             timeout=timeout).stdout.strip()

    def sql_file(self, path, *words):
        self.meridian("psql", "--owner", "--database", "shop", "--", "-qAtX", "-v", "ON_ERROR_STOP=1", *words, "-f", str(path))

    def token(self, subject, *words):
        return self.meridian("token", "--subject", subject, *words).stdout.strip()

    def direct(self):
        # libpq reads the password from the file that the environment names: command lines can be seen by others.
        file = self.home / "direct.pass"
        password = (self.data / "keys/postgres.password").read_text().strip()
        file.touch(0o600)
        file.write_text(f"*:*:*:meridian:{password}\n")
        return f"host={self.data}/run port=5432 user=meridian dbname=shop passfile={file}"

    def address(self, door):
        return f"127.0.0.1:{self.ports[door]}"

    def load_shop(self, scale=1):
        self.sql_file(SHOP / "schema.sql")
        self.sql_file(SHOP / "data.sql", "-v", f"scale={scale}")

    def wait_for_views(self, seconds=30):
        end = time.monotonic() + seconds
        while True:
            explained = self.meridian("views", "explain", check=False)
            if explained.returncode == 0 and "cannot be read" not in explained.stdout + explained.stderr:
                return
            if time.monotonic() > end:
                raise SoakError(f"views cannot be read: {explained.stdout}{explained.stderr}")
            time.sleep(0.1)

    # Faults.

    def postmaster(self):
        return int((self.data / "postgres/postmaster.pid").read_text().splitlines()[0])

    def kill_postmaster(self):
        """False when there is none now: its file may outlive it, and the number may be another's."""
        try:
            process = self.postmaster()
            if os.readlink(f"/proc/{process}/cwd") != str(self.data / "postgres"):
                return False
            os.kill(process, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
            return False
        return True

    def kill_engine(self, name):
        """Redis or NATS. False when it does not run now."""
        killed = False
        for pid in self.children():
            try:
                if name.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    killed = True
            except (FileNotFoundError, ProcessLookupError):
                pass
        return killed

    def children(self):
        """The processes that Meridian started and that still run."""
        try:
            return [int(pid) for pid in
                    pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def kill(self):
        """kill -9, and waits: the servers that it owned end with it or are taken over by the next start."""
        self.process.kill()
        self.process.wait()

    def suspend(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, keep=False):
        if self.is_up():
            self.go_on()
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.end_servers()
                raise SoakError("the node did not stop within 60 s of SIGTERM") from None
        self.end_servers()
        self.log.close()
        reports = [report.read_text(errors="replace") for report in self.home.glob("sanitizer.*")]
        if any(reports):
            raise SoakError(f"{len(reports)} reports of a sanitizer in {self.home}, the first:\n{reports[0][:6000]}")
        if not keep and not os.environ.get("MERIDIAN_SOAK_KEEP"):
            shutil.rmtree(self.home, ignore_errors=True)

    def end_servers(self):
        """What a killed node may have left behind, found by this data folder alone."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(self.data).encode() in command or folder.startswith(str(self.data)):
                found.append(int(entry.name))
        for pid in found:
            if pid == os.getpid():
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return found

    def metric(self, name):
        """The sum over all labels."""
        with urllib.request.urlopen(f"http://{self.address('http')}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith((name + " ", name + "{")))

    def process_numbers(self):
        """Memory of its own in KiB, and open descriptors. Pages of the trail's files are the kernel's to keep or to drop."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        own = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))
        return own, len(os.listdir(f"/proc/{self.process.pid}/fd"))
