"""The protocol of the cache keeps reads fresh, and the checker notices where a part of it is off."""

import re
import subprocess
import unittest

import node


def check(running, *arguments):
    program = f"{node.PROGRAM} --data {running.data} token --subject"
    address = {name: f"{host}:{port}" for name, (host, port) in running.doors.items()}
    return subprocess.run(
        [
            node.CHECKER,
            "--postgres", address["postgres"],
            "--redis", address["redis"],
            "--http", address["http"],
            "--writer-token", f"{program} checkout",
            "--reader-token", f"{program} storefront",
            "--seconds", "4", "--writers", "4", "--readers", "4", "--orders", "8",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=node.PATIENCE,
    )


class CoherenceTest(unittest.TestCase):
    def start(self, *mutations):
        running = node.Node()
        self.addCleanup(running.close)
        running.start(*[part for name in mutations for part in ("--test-mutation", name)])
        running.make_shop()
        return running

    def check_is_found(self, mutation):
        """Within some looks: how often a read meets the moment depends on the machine."""
        running = self.start(mutation)
        for _ in range(8):
            done = check(running)
            if re.search(r"\b[1-9][0-9,]* stale", done.stdout):
                break
        self.assertRegex(done.stdout, r"\b[1-9][0-9,]* stale", done.stderr)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)

    def test_no_read_is_stale(self):
        done = check(self.start())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)\b0 stale|stale\D+0\b")

    def test_without_the_fence_reads_are_stale(self):
        self.check_is_found("no-fence")

    def test_without_the_wait_for_the_cache_reads_are_stale(self):
        self.check_is_found("no-wait")


if __name__ == "__main__":
    node.main()
