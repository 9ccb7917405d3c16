"""Ports of loopback for servers that are started again where they were."""

import random
import socket

LOCAL_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
FIRST = 10_000
# A soak's own choices follow from its seed; these must not be the same in two runs at once.
RANDOM = random.SystemRandom()
given = set()


def free_port():
    """One that nobody has, and that the system gives to no connection while its server is away: it takes those from
    a range of its own."""
    with open(LOCAL_RANGE, encoding="ascii") as file:
        end = max(int(file.read().split()[0]), FIRST + 1_000)
    for _ in range(1_000):
        port = RANDOM.randrange(FIRST, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given:
            given.add(port)
            return port
    raise OSError(f"1000 ports from {FIRST} to {end} were tried, and none is free")
