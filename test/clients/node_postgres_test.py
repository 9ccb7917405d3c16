"""node-postgres: node_postgres_test.mjs against a node."""

from script import main

main("node_postgres_test.mjs")
