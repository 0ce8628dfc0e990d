"""Fuzzing: random input for what reads data of others; see CONTRIBUTING.md.

Each target is a module with ``fuzz_one(data)``, which raises if something is wrong, and
with ``LEXEMES`` and ``TOKENS``, with which its input is mutated.
"""
