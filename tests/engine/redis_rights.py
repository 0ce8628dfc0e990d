"""The rights that the documentation says a user of Redis needs."""

from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs/reference/redis.md"


def commands() -> list[str]:
    """Return the commands that the page lists for a Redis of any kind."""
    text = _PAGE.read_text()
    return text.partition("and the commands `")[2].partition("`")[0].split()


def keys(namespace: str) -> list[str]:
    """Return the rules for keys and publish/subscribe channels."""
    return [f"~{{{namespace}}}:*", "resetchannels", f"&{{{namespace}}}:*"]


def rules(namespace: str, *more: str) -> list[str]:
    """Return the rules of a user who may do nothing else."""
    allowed = [f"+{command}" for command in (*commands(), *more)]
    return ["reset", "on", ">secret", *keys(namespace), *allowed]
