"""Print each dependency's lower bound in pyproject.toml as a constraint for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"].values()

for requirement in sorted(
    {*project["dependencies"], *(one for extra in extras for one in extra)}
):
    name, bound = re.fullmatch(
        r"([\w.-]+(?:\[.*])?)(?:>=([\w.]+).*)?", requirement
    ).groups()
    if name.startswith(project["name"]):
        continue
    if bound is None:
        raise SystemExit(f"pyproject.toml: {requirement!r} has no lower bound")
    print(f"{name}=={bound}")
