"""Tables of estimates: Markdown for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsipsm.benchmark.score import Estimate

Value = Estimate | float | int | str | None


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """Markdown table of rows of one kind; an estimate is its mean and its interval."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_shown(row.get(name)) for name in names)} |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """The same with estimates as plain values, for JSON."""
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Estimate):
        spread = f" ± {value.seed_sd:.3f}" if value.seeds > 1 else ""
        return f"{value.mean:.3f}{spread} [{value.low:.2f}, {value.high:.2f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
