"""Tables of estimates: Markdown for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsipsm.benchmark.score import Estimate

Value = Estimate | float | int | str | None


def markdown(rows: Sequence[Mapping[str, Value]], *, brief: Sequence[str] = ()) -> str:
    """Markdown table of rows of one kind.

    An estimate is its mean ± the standard deviation over seeds [95 % interval over fields], in
    the columns `brief` its mean.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for row in rows:
        words = [_shown(row.get(name), brief=name in brief) for name in names]
        lines.append(f"| {' | '.join(words)} |")
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


def _shown(value: Value, *, brief: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, Estimate) and brief:
        return f"{value.mean:.3f}"
    if isinstance(value, Estimate):
        spread = f" ± {value.seed_sd:.3f}" if value.seeds > 1 else ""
        return f"{value.mean:.3f}{spread} [{value.low:.2f}, {value.high:.2f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
