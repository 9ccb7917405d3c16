"""The nats door answers as nats-server does to the same bytes, but for the differences that are meant: script/soak nats-difference,
in small."""

import os
import pathlib
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(SOURCE / "test" / "soak"))

import nats_difference  # pylint: disable=wrong-import-position

SEED = int(os.environ.get("SEED", "1"))
VISITS = 500


class NatsDifferenceTest(unittest.TestCase):
    def test_the_same_bytes_have_the_same_verdict(self):
        comparison = nats_difference.compare_many(SEED, VISITS, None, print)
        self.assertEqual(comparison.findings, [])
        # Of everything that there should be, there was some.
        self.assertEqual(comparison.counts["visits"], VISITS)
        self.assertGreater(comparison.counts["lived to the end"], VISITS // 10)
        self.assertGreater(comparison.counts["answers"], 2 * VISITS)
        self.assertGreater(comparison.counts["messages seen by the second client"], VISITS // 2)
        for name in ("stamp", "refused headers", "refused reply"):
            self.assertGreater(comparison.met[name], 0, name)
        self.assertGreater(comparison.met["reserved header"] + comparison.met["message id"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
