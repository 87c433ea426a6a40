"""What to doubt in the cells of a cohort: slide by slide, in a sentence, and drawn."""

from __future__ import annotations

from wsipsm.report import quality
from wsipsm.report.figures import spread
from wsipsm.report.numbers import SlideNumbers
from wsipsm.report.parts import Shown
from wsipsm.report.quality import FIGURES, STANDS_OUT, Figure, outliers

NAMED = 10
"""Slides that a sentence names at most."""


def doubts_of(slides: list[SlideNumbers]) -> dict[str, list[str]]:
    """What is doubtful in each slide, by its anchor: in itself, and beside the others."""
    found: dict[str, list[str]] = {slide.anchor: [] for slide in slides}
    for model in dict.fromkeys(name for slide in slides for name in slide.found):
        having = [slide for slide in slides if model in slide.found]
        far = quality.standing_out([slide.found[model].quality for slide in having])
        for slide, words in zip(having, far, strict=True):
            own = slide.found[model]
            said = quality.doubts(own.quality, cells=own.cells) + words
            found[slide.anchor] += [text for text in said if text not in found[slide.anchor]]
    return found


def shown_in_full(doubts: dict[str, list[str]], count: int) -> set[str]:
    """Anchors of the slides that are shown with all pictures: doubtful ones first."""
    return set(sorted(doubts, key=lambda anchor: not doubts[anchor])[:count])


def sentence(slides: list[SlideNumbers], doubts: dict[str, list[str]]) -> str:
    """How far to trust the cohort, in a sentence."""
    judged = [slide for slide in slides if slide.found]
    doubtful = [slide for slide in judged if doubts[slide.anchor]]
    if not judged:
        return "There are no cells to judge yet."
    if not doubtful:
        return f"Nothing speaks against the cells of any of the {len(judged):,} slides."
    names = ", ".join(slide.name for slide in doubtful[:NAMED])
    more = f" and {len(doubtful) - NAMED:,} more" if len(doubtful) > NAMED else ""
    return (
        f"{len(judged) - len(doubtful):,} of {len(judged):,} slides raise no doubt;"
        f" look at {names}{more}."
    )


def figures_of(slides: list[SlideNumbers]) -> dict[str, Figure]:
    """The figures of quality to show, by name: optional ones if any slide has them."""
    every = [found.quality for slide in slides for found in slide.found.values()]
    return {
        name: figure
        for name, figure in FIGURES.items()
        if not figure.optional or any(of.get(name) is not None for of in every)
    }


def spreads(slides: list[SlideNumbers]) -> list[Shown]:
    """For each model, the figures of quality of all slides; those that stand out are named."""
    shown = []
    for model in dict.fromkeys(name for slide in slides for name in slide.found):
        having = [slide for slide in slides if model in slide.found]
        rows = {
            name: [slide.found[model].quality.get(name) for slide in having] for name in FIGURES
        }
        rows = {name: row for name, row in rows.items() if sum(v is not None for v in row) > 1}
        if not rows:
            continue
        far = {
            name: {i for i, z in enumerate(outliers(row)) if abs(z) > STANDS_OUT}
            for name, row in rows.items()
        }
        named = [
            f"{FIGURES[name].title}: {', '.join(having[i].name for i in sorted(places)[:NAMED])}"
            for name, places in far.items()
            if places
        ]
        titles = "; ".join(FIGURES[name].title for name in rows)
        story = "; ".join(named) if named else "no slide stands out"
        shown.append(
            Shown(
                f"Figures of {model}, a dot a slide",
                f"Rows of dots, a dot a slide, for {titles}. Standing out: {story}.",
                f"From the top: {titles}. Standing out (dark): {story}.",
                spread(
                    {FIGURES[name].title: row for name, row in rows.items()}, list(far.values())
                ),
            )
        )
    return shown
