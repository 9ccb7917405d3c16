"""Messages go in at the NATS door, become rows, and come out of the outbox, while everything is killed.

Producers publish numbered messages at the door, each until the stream has acknowledged it, with duplicates, poison and ids that
were used before. Two rules make rows of them, one by key with several workers and one in order; SQL clients write into the same
table. A reader follows the outbox's stream. At the end each number is one row or one dead letter, and each row is one message
of the outbox in the order of the commits, which a counter in the database tells: whoever draws from it holds its lock to the end
of the transaction.

What each message is, and what is killed when so many have been sent, follows from the seed.
"""

import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import time

from messages_clients import ACKNOWLEDGED, DEAD, SENT, Link, Shared, follow, kind_of, produce, write_sql
from node import Node, SoakError
from wire import Closed

PRODUCERS = 2
MESSAGES_PER_KILL = 10_000
STALL_SECONDS = 180
SAY_SECONDS = 10
LOST_SECONDS = 20
# So many messages may be sent beyond the point of the next kill, and as many of those before may be on their way.
AHEAD = 6_000
BEHIND_MAX = 8_000
# Both rules read it. Its own window for duplicates is short, so that most come long after it.
STREAM = {"subjects": ["soak.keyed.*", "soak.ordered"], "duplicate_window": 100_000_000,
          # Longer than anything may stand still: what is forgotten before it was read is a finding.
          "max_age": 300_000_000_000}
RULES = ("keyed", "ordered")

ROLES = """
  soak_producer:
    bind: [{issuer: meridian, subject: producer}]
    nats: {publish: ["soak.keyed.*", "soak.ordered"]}
  soak_intruder:
    bind: [{issuer: meridian, subject: intruder}]
    nats: {publish: ["soak.keyed.*", "soak.ordered"]}
  soak_reader:
    bind: [{issuer: meridian, subject: reader}]
    nats: {consume: [OUTBOX]}
  soak_sql:
    bind: [{issuer: meridian, subject: sql}]
    postgres: {databases: [shop]}
    nats: {publish: ["soak.turns"]}
  soak_writer:
    postgres: {databases: [shop]}
"""
SETTINGS = """
token: {ttl_default: 1h}
trail: {segment: 16MiB}
ingest:
  keyed:
    subject: soak.keyed.*
    stream: SOAK
    role: soak_writer
    require: {roles: [soak_producer]}
    key: "{k}"
    workers: 3
    ack_wait: 2s
    sql: "INSERT INTO soak_rows (n, k, weight, place) VALUES ({n}, {k}, {weight}, {meridian.sequence})"
  ordered:
    subject: soak.ordered
    stream: SOAK
    role: soak_writer
    require: {roles: [soak_producer]}
    workers: 1
    ack_wait: 2s
    sql: "INSERT INTO soak_rows (n, k, weight, place) VALUES ({n}, {k}, {weight}, {meridian.sequence})"
publish:
  changes:
    table: soak_rows
    subject: "soak.changed.{k}"
    columns: [n, k, place, version]
  turns:
    subject: soak.turns
outbox: {keep: 5s, duplicate_window: 100ms, max_age: 5m}
"""
SCHEMA = """
CREATE TABLE soak_turn (n bigint NOT NULL);
INSERT INTO soak_turn VALUES (0);
-- Nothing here is unique: what comes twice is to be seen.
CREATE TABLE soak_rows (n bigint NOT NULL, k int NOT NULL, weight int NOT NULL CHECK (weight > 0), place bigint NOT NULL, version bigint);
CREATE FUNCTION soak_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  UPDATE soak_turn SET n = n + 1 RETURNING n INTO NEW.version;
  RETURN NEW;
END $$;
CREATE TRIGGER soak_version BEFORE INSERT ON soak_rows FOR EACH ROW WHEN (NEW.n % 2000 = 0) EXECUTE FUNCTION soak_version();
GRANT INSERT ON soak_rows TO soak_writer, soak_sql;
GRANT SELECT, UPDATE ON soak_turn TO soak_sql;
"""


class Run:
    """A node, its producers, its reader, and what is known of them."""

    def __init__(self, node, total, seed, say):
        self.node = node
        self.total = total
        self.seed = seed
        self.say = say
        self.size = total + total // 100  # The last are the intruder's.
        self.home = node.home
        for name in ("sent", "seen"):
            with open(self.home / name, "wb") as file:
                file.truncate(self.size)
        self.shared = Shared(PRODUCERS + 1)
        self.tokens_made = 0
        self.children = []

    def renew_tokens(self):
        if time.monotonic() < self.tokens_made + 1200:
            return
        for subject in ("producer", "intruder", "reader", "sql"):
            file = self.home / f"token.{subject}"
            file.with_suffix(".new").write_text(self.node.token(subject))
            file.with_suffix(".new").rename(file)
        self.tokens_made = time.monotonic() or 1

    def begin(self):
        self.renew_tokens()
        ports = self.node.ports
        for number in range(PRODUCERS):
            numbers = (number, self.total, PRODUCERS)
            self.spawn(f"producer {number}", produce, self.home, ports["nats"], "producer", number, numbers, self.seed, self.shared)
        self.spawn("intruder", produce, self.home, ports["nats"], "intruder", PRODUCERS, (self.total, self.size, 1), self.seed, self.shared)
        self.spawn("reader", follow, self.home, ports["nats"], self.shared)
        self.spawn("sql", write_sql, self.home, ports["postgres"], self.seed, self.shared)

    def spawn(self, name, work, *words):
        child = multiprocessing.get_context("fork").Process(target=work, args=words, name=name, daemon=True)
        child.start()
        self.children.append(child)

    def check_children(self):
        for child in self.children:
            if child.exitcode not in (None, 0):
                raise SoakError(f"{child.name} ended with {child.exitcode}, see its traceback above")

    def end(self):
        self.shared.stop.value = 1
        for child in self.children:
            if child.is_alive():
                child.kill()
            child.join()

    def wait(self, condition, what, progress, seconds=STALL_SECONDS):
        """Fails when nothing moves for so long."""
        last, since = None, time.monotonic()
        while not condition():
            self.check_children()
            self.renew_tokens()
            now = progress()
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() > since + seconds:
                raise SoakError(f"for {seconds} s nothing moves, waiting until {what} ({now}):\n{self.diagnose()}")
            time.sleep(0.02)

    def moved(self):
        return self.shared.sent(), self.shared.rows.value

    def diagnose(self):
        parts = []
        for words in (("ingest", "status"), ("outbox", "status")):
            done = self.node.meridian(*words, check=False, timeout=30)
            parts.append(done.stdout + done.stderr)
        return "\n".join([*parts, self.node.last_log(25)])

    def told(self, *words):
        """What the node says in JSON; nothing while it does not."""
        try:
            return json.loads(self.node.meridian("--json", *words, check=False, timeout=30).stdout)
        except ValueError:
            return {}

    # Straight to nats-server, as its operator.

    def direct(self):
        nats = self.node.data / "nats"
        for pid in self.node.children():
            for file in nats.glob(f"*_{pid}.ports"):
                port = int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
                token = next(self.node.data.rglob("nats.token")).read_text().strip()
                return Link(port, token)
        raise Closed("nats-server does not run")

    def jetstream(self, request, body=None):
        with self.direct() as link:
            return json.loads(link.request("$JS.API." + request, json.dumps(body).encode() if body else b""))

    def consumer(self, rule):
        """The name of the rule's, which ends in the installation's."""
        names = self.jetstream("CONSUMER.NAMES.SOAK")["consumers"] or []
        found = [name for name in names if name.startswith(f"meridian_{rule}_")]
        if len(found) != 1:
            raise Closed(f"of consumers of rule {rule} there are {len(found)} now")
        return found[0]

    def set_stream(self):
        def made():
            try:
                answer = self.jetstream("STREAM.INFO.SOAK")
                if "error" in answer:
                    return False  # The rules make it at any moment.
                answer = self.jetstream("STREAM.UPDATE.SOAK", answer["config"] | STREAM)
            except (Closed, OSError, ValueError):
                return False
            if "error" in answer:
                raise SoakError(f"the stream cannot be changed: {answer}")
            return True
        self.wait(made, "the stream is as wanted", lambda: 0)

    def settle(self):
        """Until all that was sent is done, and the reader has read it."""
        def done():
            time.sleep(0.3)
            try:
                for rule in RULES:
                    info = self.jetstream(f"CONSUMER.INFO.SOAK.{self.consumer(rule)}")
                    if info.get("num_pending", 1) or info.get("num_ack_pending", 1):
                        return False
                ingest, outbox = self.told("ingest", "status"), self.told("outbox", "status")
                if any(rule["state"] != "running" for rule in ingest.get("rules", [{"state": "none"}])):
                    return False
                if outbox.get("state") != "publishing" or outbox.get("waiting", 1) or not outbox.get("owner"):
                    return False
                # What was committed and has no number yet, the next look has.
                if int(self.node.sql("SELECT n FROM soak_turn")) > self.shared.version.value:
                    return False
                last = self.jetstream("STREAM.INFO.OUTBOX")["state"]["last_seq"]
            except (Closed, OSError, ValueError, KeyError, SoakError):
                return False
            return self.shared.place.value >= last
        self.wait(done, "all that was sent is done", lambda: (self.shared.rows.value, self.shared.place.value))

    def finish(self):
        """Everything that is under way comes to its end."""
        self.shared.stop.value = 1
        self.shared.allowed.value = 0
        workers = [child for child in self.children if child.name != "reader"]
        self.wait(lambda: not any(child.is_alive() for child in workers), "the producers are through", self.moved)
        self.settle()
        # The lag of a row that nobody has numbered is at most a look at the table: nothing may come any more.
        time.sleep(3)
        self.settle()
        self.shared.stop.value = 2
        self.wait(lambda: not any(child.is_alive() for child in self.children), "the reader ends", self.moved)

    def check(self):
        """Compares what was sent with the table, the dead letters and the outbox's stream."""
        rows, letters, strangers = bytearray(self.size), bytearray(self.size), []
        for line in self.copy("SELECT n FROM soak_rows WHERE n >= 0"):
            n = int(line)
            if n < self.size:
                rows[n] = min(rows[n] + 1, 255)
            else:
                strangers.append(f"row {n} was never sent")
        conflicts, reasons = {}, {}
        for line in self.copy("SELECT reason, coalesce(substring(encode(payload, 'escape') FROM '\"of\":(\\d+)'), '-1'), "
                              "encode(payload, 'escape') LIKE '%conflict%' FROM meridian.dead_letters"):
            reason, of, conflict = line.split("|")
            n = int(of)
            reasons[reason] = reasons.get(reason, 0) + 1
            if not 0 <= n < self.size:
                strangers.append(f"a dead letter ({reason}) of nobody")
            elif conflict == "t":
                conflicts[n] = conflicts.get(n, 0) + 1
                if reason != "id conflict":
                    strangers.append(f"message {n} with the id of another is a dead letter for {reason!r}")
            else:
                letters[n] = min(letters[n] + 1, 255)
                wanted = "unauthorised" if n >= self.total else DEAD.get(kind_of(self.seed, n))
                if wanted is not None and reason not in wanted.split("|"):
                    strangers.append(f"message {n} ({kind_of(self.seed, n)}) is a dead letter for {reason!r} instead of {wanted!r}")
        sent, seen = (bytearray((self.home / name).read_bytes()) for name in ("sent", "seen"))
        lost, doubled, samples = 0, 0, []

        def note(what):
            if len(samples) < 50:
                samples.append(what)

        counted = {"acknowledged": 0, "never acknowledged": 0, "rows": 0, "dead letters": 0}
        for n in range(self.size):
            state = sent[n]
            row, letter = rows[n], letters[n]
            if row + letter == 1 and state == ACKNOWLEDGED and seen[n] == row:
                # Nearly all of them; what is left is whether it is the right one.
                counted["rows" if row else "dead letters"] += 1
                counted["acknowledged"] += 1
                if n < self.total and (kind_of(self.seed, n) in DEAD) == bool(letter) or n >= self.total and letter:
                    continue
                strangers.append(f"message {n} ({kind_of(self.seed, n)}) became {'a row' if row else 'a dead letter'}")
                continue
            counted["rows"] += row
            counted["dead letters"] += letter
            if state == ACKNOWLEDGED:
                counted["acknowledged"] += 1
            elif state == SENT:
                counted["never acknowledged"] += 1
            elif row or letter or seen[n]:
                strangers.append(f"message {n} was not sent and is there")
            if state == ACKNOWLEDGED and row + letter == 0:
                lost += 1
                note(f"message {n} ({kind_of(self.seed, n)}) was acknowledged and is lost")
            if row + letter > 1:
                doubled += row + letter - 1
                note(f"message {n} ({kind_of(self.seed, n)}) is {row} rows and {letter} dead letters")
            if seen[n] < row:
                lost += row - seen[n]
                note(f"row {n} is {row} times in the table, {seen[n]} times in the outbox's stream")
            if seen[n] > row:
                doubled += seen[n] - row
                note(f"row {n} is {row} times in the table, {seen[n]} times in the outbox's stream")
        reader = json.loads((self.home / "reader.json").read_text())
        turns = int(self.node.sql("SELECT n FROM soak_turn"))
        if turns > reader["version"]:
            lost += turns - reader["version"]
            note(f"the counter stands at {turns}, the last in the outbox's stream is {reader['version']}")
        of_sql = int(self.node.sql("SELECT count(*) FROM soak_rows WHERE n < 0"))
        if of_sql != reader["of_sql"]:
            lost += max(0, of_sql - reader["of_sql"])
            doubled += max(0, reader["of_sql"] - of_sql)
            note(f"{of_sql} rows were written by SQL, {reader['of_sql']} are in the outbox's stream")
        for number in range(PRODUCERS + 1):
            told = json.loads((self.home / f"producer.{number}.json").read_text())
            for n, stored in told["conflicts"].items():
                times = conflicts.pop(int(n), 0)
                if stored and times == 0:
                    lost += 1
                    note(f"the message with the id of {n} was acknowledged and is lost")
                if times > 1:
                    doubled += times - 1
                    note(f"the message with the id of {n} is {times} dead letters")
            for name in ("repeated", "again", "connections", "conflicts_stored"):
                counted[name] = counted.get(name, 0) + told[name]
        strangers += [f"a message with the id of {n} was not sent and is there" for n in conflicts]
        numbers = {"messages": sum(1 for state in sent if state), "lost": lost, "doubled": doubled,
                   "out_of_order": reader["out_of_order"], "counted": counted, "dead_letters": reasons, "versions": turns,
                   "outbox_messages": reader["messages"], "rows_by_sql": of_sql}
        return numbers, samples + reader["samples"] + strangers[:50] + self.alarms()

    def alarms(self):
        """What the node says it has found, and nobody did: neither the disk nor an operator."""
        found = {}
        with open(self.home / "node.log", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                for alarm in ("the database lost commits", "sequence re-use", "retention gap", "a row had no number", "the gap"):
                    if alarm in line:
                        found.setdefault(alarm, line.strip()[:300])
        return [f"a false alarm: {line}" for line in found.values()]

    def copy(self, query):
        """All rows of a query: `psql` writes them into a file."""
        file = self.home / "copied"
        self.node.sql(f"\\copy ({query}) TO '{file}' WITH (DELIMITER '|')", timeout=1200)
        with open(file, encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)
        file.unlink()


# Faults. One that returns False did not happen.


def kill_meridian(run, _):
    run.node.kill()
    run.node.start()


def restart_meridian(run, _):
    run.node.process.terminate()
    run.node.process.wait(120)
    run.node.start()


def kill_nats(run, _):
    return run.node.kill_engine("nats-server")


def kill_postgres(run, _):
    return run.node.kill_postmaster()


def engine(run, name):
    """The numbers of the processes that work in the folder of an engine."""
    found = []
    folder = str(run.node.data / name)
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == folder:
                    found.append(int(entry.name))
            except OSError:
                pass
    return sorted(found)


def pick_backend(run, source):
    """One of PostgreSQL's processes that works for ingest, the outbox or a client."""
    postmaster = run.node.postmaster() if (run.node.data / "postgres/postmaster.pid").exists() else 0
    backends = []
    for pid in engine(run, "postgres"):
        try:
            title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if pid != postmaster and b" shop " in title:
            backends.append(pid)
    return source.choice(backends) if backends else None


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_backend(run, source):
    """PostgreSQL ends all sessions and recovers."""
    pid = pick_backend(run, source)
    return bool(pid) and send(pid, signal.SIGKILL)


def end_backend(run, source):
    """The session alone ends, as when its connection is cut."""
    pid = pick_backend(run, source)
    return bool(pid) and send(pid, signal.SIGTERM)


def sleeping(pids, source, longest):
    stopped = [pid for pid in pids if pid and send(pid, signal.SIGSTOP)]
    try:
        time.sleep(source.uniform(0.05, longest))
    finally:
        for pid in stopped:
            send(pid, signal.SIGCONT)
    return bool(stopped)


def suspend_meridian(run, source):
    return sleeping([run.node.process.pid], source, 3)


def suspend_nats(run, source):
    return sleeping(engine(run, "nats"), source, 3)


def suspend_backend(run, source):
    return sleeping([pick_backend(run, source)], source, 2)


def cut_producer(run, source):
    """In the middle of what it sends."""
    run.shared.cut[source.randrange(PRODUCERS)] = 1


def delete_consumer(run, source):
    try:
        return "error" not in run.jetstream(f"CONSUMER.DELETE.SOAK.{run.consumer(source.choice(RULES))}")
    except (Closed, OSError, ValueError):
        return False


FAULTS = ((kill_meridian, 5), (kill_nats, 5), (kill_postgres, 3), (kill_backend, 2), (end_backend, 3), (suspend_meridian, 2),
          (suspend_nats, 2), (suspend_backend, 1), (cut_producer, 2), (delete_consumer, 1), (restart_meridian, 1))


def deal(source, faults):
    """All faults, each as often as its weight says, in an order of its own; again and again."""
    while True:
        cards = [fault for fault, weight in faults for _ in range(weight)]
        source.shuffle(cards)
        yield from cards


class Standstill:
    """For how long something has not moved."""

    def __init__(self, progress):
        self.progress = progress
        self.last, self.at = progress(), time.monotonic()

    def since(self):
        now = self.progress()
        if now != self.last:
            self.last, self.at = now, time.monotonic()
        return time.monotonic() - self.at


def conduct(run, kills, seconds, faults):
    """Kills when so many messages have been sent as the seed says. Returns how often each fault was."""
    source = random.Random(run.seed)
    shared, share = run.shared, run.total / kills
    end = time.monotonic() + seconds if seconds else None
    done = {fault.__name__: 0 for fault, _ in faults}
    cards = deal(source, faults)
    number = 0
    began = told = time.monotonic()
    while number < kills:
        point = int((number + source.random()) * share)
        # While it happens, messages are being sent, and some of those before are not yet through.
        shared.allowed.value = min(run.total, point + AHEAD)
        behind = source.uniform(0, BEHIND_MAX)
        fault = next(cards)

        stands = Standstill(run.moved)

        def reached():
            # What is lost is behind for ever, and the check is what finds it.
            through = shared.sent() >= point and (shared.lag() <= behind or stands.since() > LOST_SECONDS)
            return through or (end and time.monotonic() > end)
        run.wait(reached, f"{point} messages are sent", run.moved)
        if end and time.monotonic() > end:
            break
        if not run.node.is_up():
            raise SoakError(f"the node ended by itself:\n{run.node.last_log(40)}")
        if fault(run, source) is False:
            # Nothing there to be killed now: another one.
            time.sleep(0.02)
            continue
        done[fault.__name__] += 1
        number += 1
        if time.monotonic() > told + SAY_SECONDS or number == kills:
            told = time.monotonic()
            rate = shared.rows.value / (told - began)
            left = (told - began) * (kills - number) / number
            run.say(f"  {number} kills, {shared.sent()} messages acknowledged, {shared.rows.value} rows in the outbox's stream "
                    f"({rate:.0f}/s), {left / 60:.0f} min left")
    if not (end and time.monotonic() > end):
        shared.allowed.value = run.total
        run.wait(lambda: shared.sent() >= run.total, "all messages are sent", run.moved)
    return done


def soak(total, kills, seed, say, seconds=None, mutations=(), faults=FAULTS):
    """One run. Returns its numbers and findings."""
    with Node(SETTINGS, roles=ROLES, mutations=mutations) as node:
        node.start()
        node.sql_file(pathlib.Path(__file__).resolve().parents[2] / "examples/shop/schema.sql")
        node.sql(SCHEMA)
        run = Run(node, total, seed, say)
        run.set_stream()
        try:
            begin_serving(run)
            run.begin()
            done = conduct(run, kills, seconds, faults)
            run.finish()
            numbers, findings = run.check()
        except BaseException:
            # Whoever looks for the reason wants the log.
            if keep := os.environ.get("MERIDIAN_SOAK_KEEP"):
                shutil.copy(node.home / "node.log", keep)
            raise
        else:
            if (keep := os.environ.get("MERIDIAN_SOAK_KEEP")) and findings:
                shutil.copy(node.home / "node.log", keep)
        finally:
            run.end()
        return numbers | {"kills": sum(done.values()), "faults": done}, findings


def begin_serving(run):
    def running():
        rules = run.told("ingest", "status").get("rules", [])
        return rules and all(rule["state"] == "running" for rule in rules) and run.told("outbox", "status").get("owner")
    run.wait(running, "the rules run", lambda: 0)


def find_mutation(seed, say):
    """Messages that are acknowledged before their rows are committed are lost by kills; the check has to see it."""
    began = time.monotonic()
    numbers = {}
    for attempt in range(5):
        numbers, _ = soak(60_000, 6, seed + attempt, lambda _: None, mutations=["ack-before-commit"],
                          faults=((kill_meridian, 2), (kill_postgres, 1)))
        if numbers["lost"]:
            break
    spent = round(time.monotonic() - began, 1)
    say(f"  ack-before-commit: {'found' if numbers['lost'] else 'NOT FOUND'} after {spent} s, {numbers['lost']} lost")
    return {"mutation": "ack-before-commit", "found": numbers["lost"] > 0, "lost": numbers["lost"], "seconds": spent}


def run(options, say):
    report, findings = {}, []
    kills = options.kills or 1000
    total = options.messages or kills * MESSAGES_PER_KILL
    numbers = {"messages": 0, "kills": 0, "lost": 0, "doubled": 0, "out_of_order": 0}
    if not options.only_mutations:
        say(f"{total} messages, {kills} kills")
        numbers, findings = soak(total, kills, options.seed, say, options.seconds)
        if numbers["lost"] + numbers["doubled"] + numbers["out_of_order"] > 0 and not findings:
            findings = ["the numbers are not all zero"]
        report["run"] = numbers
    if not options.without_mutations:
        say("a planted bug: acknowledge before the commit")
        report["mutations"] = [find_mutation(options.seed, say)]
        findings += [f"the planted bug {each['mutation']} was not found" for each in report["mutations"] if not each["found"]]
    return report, findings, (f"{numbers['messages']} messages, {numbers['kills']} kills, {numbers['lost']} lost, "
                              f"{numbers['doubled']} doubled, {numbers['out_of_order']} out of order")
