"""`python -m cryptoai_serving.requirements FILE`: what the service needs, in the versions installed here.

A Bento is installed from it, so that it runs on what was tested. It knows nothing about what trains.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT, EXTRAS = "cryptoai", frozenset({"serving"})


def installed_requirements(project: str = PROJECT, extras: frozenset[str] = EXTRAS) -> list[str]:
    """Pin what a project with these extras needs, and what that needs in turn, the project itself left out.

    Raises
    ------
    PackageNotFoundError
        When something that is needed is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(project), extras)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        package = distribution(name)
        found[name] = f"{package.metadata['Name']}=={package.version}"
        for text in package.requires or ():
            needed = Requirement(text)
            if any(_applies(needed, extra) for extra in (*wanted, "")):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    del found[canonicalize_name(project)]
    return sorted(found.values(), key=str.lower)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file."""
    [target] = sys.argv[1:] if arguments is None else arguments
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(installed_requirements()) + "\n")
    return 0


def _applies(needed: Requirement, extra: str) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


if __name__ == "__main__":
    sys.exit(main())
