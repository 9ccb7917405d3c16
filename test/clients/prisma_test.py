"""Prisma: prisma_test.mjs against a node."""

from script import main

main("prisma_test.mjs")
