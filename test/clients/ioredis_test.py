"""ioredis: ioredis_test.mjs against a node."""

from script import main

main("ioredis_test.mjs")
