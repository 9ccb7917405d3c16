"""node-redis: node_redis_test.mjs against a node."""

from script import main

main("node_redis_test.mjs")
