"""The trail of a whole node: intact, telling where it is not, and never left out."""

import json
import shutil
import subprocess
import unittest

import clients
import node


def audit(running, trail, code):
    done = running.run("audit", "verify", "--trail", trail, code=None)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


class VerifyTest(unittest.TestCase):
    def test_one_changed_byte_is_named(self):
        running = node.use_node(self)
        with clients.Postgres(running, running.token("checkout"), "checkout") as session:
            for revision in range(20):
                session.query(f"UPDATE orders SET revision = {revision} WHERE id = 1")
        self.assertIn("intact", running.run("audit", "verify"))
        self.assertEqual(running.stop(), 0)
        copy = running.root / "copy"
        shutil.copytree(running.data / "trail", copy)
        self.assertIn("intact", audit(running, copy, 0))

        # One letter of a statement, in the middle of the records.
        changed = None
        for segment in sorted((copy / "test").iterdir()):
            content = segment.read_bytes() if segment.is_file() else b""
            at = content.find(b"UPDATE orders")
            if at >= 0:
                changed = segment
                segment.chmod(0o600)
                segment.write_bytes(content[:at] + b"V" + content[at + 1 :])
                break
        self.assertIsNotNone(changed, "a statement is on the trail")
        said = audit(running, copy, 1)
        self.assertIn(changed.name, said)
        self.assertRegex(said, r"record \d+|sequence \d+|offset \d+")
        # The original has not changed.
        self.assertIn("intact", audit(running, running.data / "trail", 0))

    def test_a_cut_off_end_is_named(self):
        running = node.use_node(self)
        self.assertEqual(running.stop(), 0)
        copy = running.root / "copy"
        shutil.copytree(running.data / "trail", copy)
        segments = sorted(p for p in (copy / "test").iterdir() if p.suffix and p.stat().st_size)
        victim = max(segments, key=lambda p: p.stat().st_size)
        content = victim.read_bytes()
        victim.chmod(0o600)
        # In the middle of a record: the records before it alone are a trail too.
        victim.write_bytes(content[:-1])
        self.assertIn(victim.name, audit(running, copy, 1))


def mounted(case, size):
    """A small file system of its own for the trail; skips where it cannot be had."""
    running = node.Node()
    case.addCleanup(running.close)
    trail = running.data / "trail"
    running.start()
    running.make_shop()
    running.stop()
    shutil.move(trail, running.root / "kept")
    trail.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", trail],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        trail.rmdir()
        case.skipTest("no file system can be mounted here: " + done.stderr.strip())
    case.addCleanup(lambda: subprocess.run(["umount", "-l", trail], check=True))
    shutil.copytree(running.root / "kept", trail, dirs_exist_ok=True)
    return running, trail


def fill(ballast):
    """Nothing is left on the file's disk but what was reserved ahead."""
    with open(ballast, "wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass


class FullDiskTest(unittest.TestCase):
    def test_requests_are_refused_and_not_left_out(self):
        running, trail = mounted(self, "24m")
        running.start()
        running.wait_for_views()
        ballast = trail / "ballast"
        token = running.token("checkout", ttl="1h")
        reader_token = running.token("storefront", ttl="1h")
        fill(ballast)
        updates = 0
        refused = None
        with clients.Postgres(running, token, "checkout") as session:
            while refused is None and updates < 20_000:
                name = f"o{updates}"  # Texts that differ, so that each is on the trail whole.
                try:
                    session.query(
                        f"UPDATE orders AS {name} SET revision = {name}.revision + 1"
                        f" WHERE {name}.id = 1" + f" AND {name}.id = {name}.id" * 100
                    )
                    updates += 1
                except (clients.PostgresError, clients.Ended) as error:
                    refused = error
        self.assertIsNotNone(refused, "the room is used up")
        # What was acknowledged is what has happened: what was refused has not.
        self.assertEqual(int(running.owner("SELECT revision FROM orders WHERE id = 1")), updates)
        # Each loop has a little room of its own, so some visits more may come in before all are full.
        def all_refuse():
            try:
                for _ in range(8):
                    clients.Redis(running, reader_token, "storefront").close()
            except (clients.RedisError, clients.Ended):
                return True
            return False

        node.wait_until(all_refuse, "the Redis door refuses too")
        ballast.unlink()

        def recovered():
            try:
                with clients.Postgres(running, token, "checkout") as session:
                    session.query("UPDATE orders SET revision = revision + 1 WHERE id = 1")
                return True
            except (clients.PostgresError, clients.Ended):
                return False

        node.wait_until(recovered, "there is room again")
        self.assertEqual(
            int(running.owner("SELECT revision FROM orders WHERE id = 1")), updates + 1
        )
        self.assertIn("intact", running.run("audit", "verify"))
        self.assertEqual(running.stop(), 0)

    def test_writes_in_pipelines_are_refused_and_not_left_out(self):
        running, trail = mounted(self, "24m")
        running.start()
        running.wait_for_views()
        token = running.token("storefront", ttl="1h")
        ballast = trail / "ballast"
        fill(ballast)
        sent, acknowledged = [], set()
        refused = False
        with clients.Redis(running, token, "storefront") as session:
            while not refused and len(sent) < 200_000:
                burst = [f"session:{len(sent) + i}:" + "k" * 450 for i in range(200)]
                sent += burst
                try:
                    for key, reply in zip(burst, session.pipeline(("SET", key, "1") for key in burst)):
                        self.assertEqual(reply, "OK")
                        acknowledged.add(key)
                except (clients.RedisError, clients.Ended):
                    refused = True
        self.assertTrue(refused, "the room is used up")
        ballast.unlink()

        def there():
            try:
                with clients.Redis(running, token, "storefront") as session:
                    return list(session.pipeline(("EXISTS", key) for key in sent[-2000:]))
            except (clients.RedisError, clients.Ended):
                return None

        found = node.wait_until(there, "there is room again")
        in_redis = {key for key, exists in zip(sent[-2000:], found) if exists}
        recorded = [key for record in key_writes(running) for _, key in record]
        self.assertEqual(recorded, sent[: len(recorded)])
        self.assertEqual(acknowledged - set(recorded), set())
        self.assertEqual(in_redis - set(recorded), set())
        self.assertLess(len(in_redis), 2000, "what was refused was not forwarded")
        self.assertIn("intact", running.run("audit", "verify"))
        self.assertEqual(running.stop(), 0)


def key_writes(running, *options):
    """What each record of writes says: a list of commands with their keys."""
    exported = running.run("audit", "export", "--kind", "key_write", *options)
    records = [json.loads(line) for line in exported.splitlines()]
    return [[(each["command"], each["key"]) for each in (record, *record["further"])] for record in records]


class BurstTest(unittest.TestCase):
    def test_a_pipeline_is_a_few_records_with_every_write(self):
        running = node.use_node(self)
        wanted = [("set", f"session:{i}") for i in range(100)] + [("del", "session:7"), ("get", "session:8")]
        with clients.Redis(running, running.token("storefront"), "storefront") as session:
            replies = list(session.pipeline((name, key, *(["1"] if name == "set" else [])) for name, key in wanted))
            self.assertEqual(replies, ["OK"] * 100 + [1, "1"])
            # A transaction goes over a link of its own, and writes of it are no different.
            replies = list(session.pipeline([("MULTI",), ("SET", "session:a", "1"), ("DEL", "session:a"), ("EXEC",)]))
            self.assertEqual(replies, ["OK", "QUEUED", "QUEUED", ["OK", 1]])
        records = key_writes(running)
        written = [write for record in records for write in record]
        self.assertEqual(written, wanted[:-1] + [("set", "session:a"), ("del", "session:a")])
        self.assertLess(len(records), 50)
        # Whichever place it has in its record.
        for key in ("session:0", "session:50", "session:99"):
            self.assertEqual(len(key_writes(running, "--key", key)), 1)
        self.assertEqual(key_writes(running, "--key", "session:100"), [])
        shown = json.loads(running.run("audit", "export", "--key", "session:a").splitlines()[0])
        self.assertIn("session:a", running.run("audit", "search", "--key", "session:a"))
        steps = json.loads(running.run("--json", "trace", shown["request"]))["steps"]
        told = " ".join(f"{step['what']} {step['detail']}" for step in steps if step["kind"] == "key_write")
        for name, key in written:
            self.assertIn(f"{name} {key}", told)


class TraceTest(unittest.TestCase):
    def test_one_story_across_the_doors(self):
        running = node.use_node(self)
        with clients.Redis(running, running.token("storefront"), "storefront") as reader:
            reader.call("GET", "order:1")
            with clients.Postgres(running, running.token("checkout"), "checkout") as session:
                session.query("BEGIN")
                session.query("UPDATE orders SET status = 'paid' WHERE id = 1")
                request = clients.request_id_of(session)
                session.query("COMMIT")
            self.assertIn("paid", reader.call("GET", "order:1"))

        def story():
            told = running.run("trace", request, code=None).stdout
            return told if "storefront" in told else None

        told = node.wait_until(story, "the reads are on the trail")
        self.assertIn("checkout", told)
        self.assertIn("issuer meridian", told)  # The binding.
        self.assertRegex(told.lower(), r"update orders set status")
        self.assertRegex(told, r"[0-9a-f]{16}")  # The statement's fingerprint.
        self.assertIn("order:1", told)
        # In the order in which it happened.
        lower = told.lower()
        self.assertLess(lower.index("update orders"), lower.rindex("order:1"))
        as_json = json.loads(running.run("--json", "trace", request))
        self.assertGreater(len(as_json["steps"]), 3)

        missing = running.run("trace", "01900000-0000-7000-8000-000000000000", code=None)
        self.assertEqual(missing.returncode, 1)


if __name__ == "__main__":
    node.main()
