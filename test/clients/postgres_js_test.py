"""postgres.js: postgres_js_test.mjs against a node."""

from script import main

main("postgres_js_test.mjs")
