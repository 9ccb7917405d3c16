"""Disks that are full, PostgreSQL's and nats-server's: nothing is lost or doubled, and when there is
room again all goes on by itself."""

import os
import subprocess
import time
import unittest

import network_faults_test as faults
import node
import serve_test


class SmallDisk:
    """A file system of its own, which a test fills and empties."""

    def __init__(self, case, folder, size, user=None):
        self.folder = folder
        self.filler = folder / "filler"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no small disk can be made here: {mounted.stderr.strip()}")
        # Servers that end later still hold files there.
        case.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)
        if user:
            serve_test.shutil.chown(folder, user)

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def empty(self):
        os.unlink(self.filler)


class DatabaseDiskTest(faults.Faults):
    def prepare(self):
        self.disk = SmallDisk(self, self.servers.root / "small", "64m", self.servers.user)
        self.servers.sql(f"CREATE TABLESPACE small LOCATION '{self.disk.folder}'")
        # The rows, the ledger and the outbox alike; the log is elsewhere, or the server would end.
        self.servers.sql("ALTER DATABASE shop SET default_tablespace = 'small'")

    def test_rows_and_the_ledger_find_no_room(self):
        failed = []

        def full():
            self.disk.fill()
            failed.append(node.wait_until(
                lambda: "53100" in (told := self.state()).get("why", "") and told,
                "the rule says so"))

        # The outbox's rows are the users' own: their transactions fail, and are not begun here.
        self.check_rows(*self.load_rows(full, self.disk.empty))
        self.assertEqual(failed[0]["state"], "unreachable")

    def load_rows(self, *steps):
        producer = faults.Producer(self, 100_000, pause=0.01)
        producer.start()
        try:
            time.sleep(0.5)
            for step in steps:
                step()
                time.sleep(1)
        finally:
            producer.stopped = True
            producer.join()
        self.assertIsNone(producer.failure)
        return producer.acknowledged, list(range(1, 201))

    def check_rows(self, acknowledged, published):
        self.servers.sql("SELECT meridian.publish('shop.events.n', n::text)"
                         f" FROM generate_series(1, {len(published)}) AS n")
        self.check_exact(acknowledged, published)


class StreamDiskTest(faults.Faults):
    def prepare(self):
        self.disk = SmallDisk(self, self.jetstream, "24m")

    def test_messages_find_no_room(self):
        def full():
            self.disk.fill()
            # So that what the server holds open cannot take any more either.
            time.sleep(2)

        def restart():
            self.disk.empty()
            # A nats-server that has found its disk full uses JetStream again only when it starts.
            self.nats_server.kill()
            self.nats_server.wait()
            self.start_nats()

        self.check_exact(*self.load(2, full, restart))


if __name__ == "__main__":
    node.main()
