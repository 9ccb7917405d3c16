"""Users change the schema while views are registered and read: no statement of theirs fails for it,
and no reader is told of it."""

import signal
import threading
import unittest

import clients
import node

ROLES = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    redis: {read: ["order:*", "first:*", "middle:*", "last:*"]}
  view_reader:
    postgres: {databases: [shop]}
views:
  order:
    key: "order:{id}"
    query: "SELECT * FROM orders WHERE id = {id}"
    as: view_reader
    database: shop
"""
TABLES = ("first", "middle", "last")
MORE_VIEWS = "".join(
    f"""
  {name}:
    key: "{name}:{{id}}"
    query: "SELECT id, note FROM {table} WHERE id = {{id}}"
    as: view_reader
    database: shop
"""
    # In the order in which a list of them is written.
    for name, table in zip(TABLES, ("a_first", "m_middle", "z_last"))
)
SCHEMA = """
CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL DEFAULT 'open');
INSERT INTO orders SELECT n FROM generate_series(1, 64) AS n;
CREATE TABLE a_first (id bigint PRIMARY KEY, note text);
CREATE TABLE m_middle (id bigint PRIMARY KEY, note text);
CREATE TABLE z_last (id bigint PRIMARY KEY, note text);
INSERT INTO m_middle VALUES (1, 'one');
GRANT SELECT ON orders, a_first, m_middle, z_last TO view_reader;
ALTER TABLE orders OWNER TO checkout;
ALTER TABLE a_first OWNER TO checkout;
ALTER TABLE m_middle OWNER TO checkout;
ALTER TABLE z_last OWNER TO checkout;
"""


class InTheBackground(threading.Thread):
    """Runs something aside; what it raised is raised by result()."""

    def __init__(self, action):
        super().__init__()
        self.action = action
        self.failure = None
        self.start()

    def run(self):
        try:
            self.action()
        except Exception as failure:  # noqa: BLE001: it is raised again
            self.failure = failure

    def result(self):
        self.join(node.PATIENCE)
        if self.is_alive():
            raise AssertionError("it has not ended")
        if self.failure:
            raise self.failure


class DdlTest(unittest.TestCase):
    def setUp(self):
        self.node = node.use_node(self, ROLES, shop=False)
        self.node.owner(SCHEMA)
        self.node.wait_for_views()

    def user(self):
        session = clients.Postgres(self.node, self.node.token("checkout"), "checkout")
        self.addCleanup(session.close)
        return session

    def register_more(self):
        self.node.write_config(ROLES + MORE_VIEWS)
        self.node.signal(signal.SIGHUP)

    def wait_for_a_lock(self, *tables):
        """Until somebody waits for one of them, which is over soon: only the server itself looks often enough."""
        places = ", ".join(f"'{table}'::regclass" for table in tables)
        self.node.owner(f"""DO $$ BEGIN
            FOR look IN 1 .. 3000 LOOP
              IF EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IN ({places})) THEN
                RETURN;
              END IF;
              PERFORM pg_sleep(0.01);
            END LOOP;
            RAISE EXCEPTION 'nobody waits for a lock';
          END $$""")

    def registered(self):
        keys = self.node.owner("SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables WHERE pubname = 'meridian' AND schemaname = 'public'")
        return keys == "a_first m_middle orders z_last"

    def test_registration_is_no_part_of_a_users_deadlock(self):
        other, user = self.user(), self.user()
        other.query("BEGIN")
        other.query("LOCK TABLE m_middle IN SHARE UPDATE EXCLUSIVE MODE")
        user.query("BEGIN")
        user.query("LOCK TABLE z_last IN SHARE UPDATE EXCLUSIVE MODE")
        self.register_more()
        self.wait_for_a_lock("m_middle", "z_last")
        # If it kept the lock on the first while it waits for the others, the user would wait for it
        # before it waits for the user, and then be the one who is told of the deadlock.
        locks = InTheBackground(lambda: user.query("LOCK TABLE a_first IN SHARE UPDATE EXCLUSIVE MODE"))
        locks.join(0.5)
        other.query("COMMIT")
        locks.result()
        user.query("COMMIT")
        node.wait_until(self.registered, "the views are registered when the locks are gone")

    def test_a_grant_does_not_meet_a_registration_that_waits(self):
        writer, user = self.user(), self.user()
        writer.query("BEGIN")
        writer.query("UPDATE m_middle SET note = 'two'")
        self.register_more()
        # The registration wants a trigger on the table.
        self.wait_for_a_lock("m_middle")
        grants = InTheBackground(lambda: user.query("GRANT INSERT ON a_first TO view_reader"))
        grants.join(0.5)
        writer.query("COMMIT")
        grants.result()
        wanted = "SELECT count(*) FROM pg_trigger WHERE tgname = 'meridian_request'"
        node.wait_until(lambda: self.node.owner(wanted) == "4", "all have their trigger in the end")

    def test_readers_are_not_told_of_a_change_of_the_schema(self):
        done = threading.Event()
        answers = []

        def read():
            with clients.Redis(self.node, self.node.token("storefront"), "storefront") as reader:
                while not done.is_set():
                    for number in range(1, 9):
                        answers.append(reader.call("GET", f"order:{number}"))

        readers = [InTheBackground(read) for _ in range(3)]
        user = self.user()
        for number in range(20):
            user.query("ALTER TABLE orders ADD COLUMN note text DEFAULT 'x'" if number % 2 == 0 else "ALTER TABLE orders DROP COLUMN note")
            wanted = len(answers) + 50
            node.wait_until(lambda: len(answers) > wanted or any(not one.is_alive() for one in readers), "the readers go on")
        done.set()
        for reader in readers:
            reader.result()
        self.assertGreater(len(answers), 1000)
        self.assertNotIn(None, answers)


if __name__ == "__main__":
    node.main()
