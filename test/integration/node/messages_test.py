"""The whole path of messages under a handful of kills: script/soak messages, in small."""

import os
import pathlib
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(SOURCE / "test" / "soak"))

import messages  # pylint: disable=wrong-import-position


class MessagesTest(unittest.TestCase):
    def test_each_message_is_one_row_and_one_message_of_the_outbox(self):
        numbers, findings = messages.soak(24_000, 8, int(os.environ.get("SEED", "5")), print)
        self.assertEqual(findings, [])
        self.assertEqual(
            (numbers["lost"], numbers["doubled"], numbers["out_of_order"]), (0, 0, 0)
        )
        # Of everything that there should be, there was some.
        self.assertEqual(numbers["kills"], 8)
        self.assertGreaterEqual(numbers["counted"]["acknowledged"], 23_000)
        self.assertGreater(numbers["counted"]["repeated"], 100)
        self.assertGreater(numbers["versions"], 10)
        self.assertGreater(numbers["outbox_messages"], 23_000)
        for reason in ("unreadable", "poison", "unauthorised", "id conflict"):
            self.assertGreater(numbers["dead_letters"].get(reason, 0), 0, reason)


if __name__ == "__main__":
    unittest.main(verbosity=2)
