"""The counts that a stress test prints."""

from collections import Counter
from collections.abc import Iterable


class Tally:
    """Disturbances by kind, other counts by name, and problems: results that were lost, changed or silently wrong."""

    def __init__(self) -> None:
        self.done, self.more, self.problems = Counter(), Counter(), []

    def add(self, name: str, problems: Iterable[str]) -> None:
        self.problems += [f"{name}: {problem}" for problem in problems]

    def __str__(self) -> str:
        done, more = (", ".join(f"{kind} {n}" for kind, n in counts.items()) for counts in (self.done, self.more))
        first = f"{self.done.total()} ({done}); {more or 'nothing else'}; {len(self.problems)} problems"
        return "\n  ".join([first, *self.problems[:20]])
