"""Commands in the documents, and the one table that says how each of them is held to the truth."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from click.testing import CliRunner

from wsipsm import cli

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md"]
)
COMMAND = re.compile(r"(wsipsm|snakemake|python|pytest|pip|bash|WSIPSM_\w+=\S+) [^\s]")
"""How a command in the middle of a text begins; a lone `wsipsm` is a name."""

LOCAL, SLURM = (f" --workflow-profile workflow/profiles/{name}" for name in ("local", "slurm"))
ORDER: list[tuple[str, str, str]] = [
    # page (empty: any), command as a regular expression, way and what it needs to know
    ("README.md", r"bash envs/create\.sh && .*", "ci"),
    ("ihc.md", r".*", "elsewhere tests/test_docs.py::test_example_of_ki67"),
    ("", r"wsipsm [a-z-]+|wsipsm --quiet COMMAND", "named"),
    ("", r"wsipsm --help|wsipsm status --json", "inside"),
    ("", r"wsipsm settings-of .*", "inside"),
    ("", r"wsipsm init study /data/slides/\*\.svs", "parsed"),  # in full: tests/test_layout.py
    ("", r"wsipsm tile CMU.*", "shell"),
    ("", r"wsipsm evaluate-tiling \S+ \S+ cuts\.json", "parsed"),  # in full: test_invariance.py
    ("", r"wsipsm benchmark-(method|quality) .*", "parsed"),  # in full: tests/benchmark
    ("", r"wsipsm view \S+", "elsewhere tests/test_view.py::test_viewer_starts_and_serves"),
    ("", r"wsipsm doctor --nodes", "elsewhere tests/workflow/test_slurm.py::"
     "test_the_doctor_sees_what_is_wrong_with_a_profile"),
    ("", f"wsipsm resume{LOCAL}", "elsewhere tests/workflow/test_resume.py::"
     "test_jobs_that_outlive_a_killed_run_are_ended_before_it_goes_on"),
    ("", f"wsipsm resume{SLURM}", "elsewhere tests/workflow/test_slurm.py::"
     "test_a_killed_coordinator_is_resumed_without_a_second_writer"),
    ("", f"snakemake( -n| --dry-run|{LOCAL})", "elsewhere tests/test_layout.py::"
     "test_project_of_the_wheel_alone_is_planned"),  # in full by continuous integration
    ("", f"snakemake{SLURM}", "elsewhere tests/workflow/test_slurm.py::"
     "test_every_stage_by_sbatch_makes_the_bytes_of_a_run_without_it"),
    ("", r"snakemake results/qupath/unet --batch project=1/10", "elsewhere tests/workflow/"
     "test_dag.py::test_a_batch_holds_its_share_of_the_slides_and_the_models"),
    ("", r"python -m cProfile -m snakemake --dry-run .*", "elsewhere tests/test_layout.py::"
     "test_project_of_the_wheel_alone_is_planned"),
    ("", r"snakemake --report .*", "elsewhere tests/workflow/test_dag.py::"
     "test_snakemakes_own_report_carries_the_pages"),
    ("", r"snakemake --lint", "checked"),
    ("", r"cd study", "named"),
    ("", r"eval \"\$\(_WSIPSM_COMPLETE=bash_source wsipsm\)\"", "shell && complete -p wsipsm"),
    ("", r"python -m hatchling build -t wheel", "elsewhere tests/test_layout.py::"
     "test_wheel_brings_the_workflow"),
    ("", r"python -m tests\.benchmarks\.picture .*", "drawn"),
    ("", r"python -m tests\.benchmarks\.\w+.*", "usage"),  # long: only that it takes the words
    ("", r"pip install 'wsipsm\[\w+\]'", "extra"),
    ("", r"pytest .*", "suite"),
    ("", r"WSIPSM_SAM_CHECKPOINT=\S+ python -m pytest -m real_weights", "suite"),
]  # fmt: skip


def commands(page: Path) -> list[str]:
    """Lines of shell in a page, and commands in its text; those that are continued as one."""
    text = page.read_text()
    if page.name == "CHANGELOG.md":
        return []
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    spans = [span.replace("... adapt", "python -m tests.benchmarks.sam adapt") for span in spans]
    lines += [span for span in spans if COMMAND.match(span)]
    return list(dict.fromkeys(line.partition("  #")[0].strip() for line in lines if line))


def way_of(line: str, page: Path) -> str:
    """The first way in `ORDER` that fits a command."""
    found = (
        way for where, form, way in ORDER
        if where in ("", page.name) and re.fullmatch(form, line)
    )  # fmt: skip
    way = next(found, None)
    assert way, f"{page.name}: `{line}`: say in tests/documents.py how this command is tested"
    return way


class Ways:
    """Ways to hold a command to the truth; each takes the command and what its entry adds."""

    def __init__(self, project: Path, empty: Path) -> None:
        self.project, self.empty = project, empty

    def folder_of(self, way: str) -> Path:
        """Where a way is gone: in the repository, or in a project."""
        return REPOSITORY if way in ("ci", "elsewhere", "usage", "suite") else self.project

    def ci(self, line: str, _: str) -> None:
        """One of the two lines that .ci/run takes out of the README and runs."""
        script = (REPOSITORY / ".ci/run").read_text()
        assert "grep '^bash envs/create.sh ' README.md" in script
        assert f"\n{line}\n" in (REPOSITORY / "README.md").read_text()

    def checked(self, line: str, _: str) -> None:
        """A line of .ci/check."""
        assert re.search(f"^{line}", (REPOSITORY / ".ci/check").read_text(), re.M), line

    def elsewhere(self, _: str, test: str) -> None:
        """A test of its own, for it needs much."""
        file, name = test.split("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text(), test

    def named(self, line: str, _: str) -> None:
        """No command to type but the name of one."""
        word = line.split()[1]
        assert word.startswith("-") or word in cli.main.commands or line == "cd study", line

    def parsed(self, line: str, _: str) -> None:
        """Its words are taken; it is too long to run here, and runs in tests of its own."""
        _, name, *words = shlex.split(line.replace("...", ""))
        names = {"TARGET": "out.json", "FOLDERS": "docs"}
        command = cli.main.commands[name]
        words = [names.get(word, word) for word in words]
        words = [
            str(self.project) if Path(word).name.startswith("ihc_") else word for word in words
        ]
        if words == ["--methods", "paper"]:
            words = ["docs", "out.json", *words]
        command.make_context(name, words)

    def inside(self, line: str, _: str) -> None:
        """In this process, which spares the imports."""
        words = shlex.split(line.partition(" > ")[0])[1:]
        done = CliRunner().invoke(cli.main, words)
        assert done.exit_code == 0, f"{line}: {done.output}"
        assert done.output

    def shell(self, line: str, more: str) -> None:
        """As it stands, in a shell."""
        done = subprocess.run(["bash", "-c", f"{line} {more}"], capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"

    def drawn(self, line: str, _: str) -> None:
        """As it stands, in this process; its last word is a picture."""
        words = shlex.split(line)
        _run_module(words[2], words[3:])
        assert Path(words[-1]).stat().st_size > 1000

    def usage(self, line: str, _: str) -> None:
        """The command says of itself that it takes these words."""
        _, _, module, *words = shlex.split(line)
        said = _run_module(module, ["--help"])
        known = [word.split("=")[0] for word in words if word.startswith("--")]
        known += [word for word in words[:1] if word.islower()]
        assert all(word in said.lower() for word in known), f"{line}: {said}"

    def extra(self, line: str, _: str) -> None:
        """An extra that the package has."""
        facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        assert re.findall(r"\[(\w+)\]", line)[0] in facts["optional-dependencies"]

    def suite(self, line: str, _: str) -> None:
        """Tests of this suite: files that are there, markers that are known."""
        facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]
        markers = {text.partition(":")[0] for text in facts["ini_options"]["markers"]}
        words = shlex.split(line.partition("pytest ")[2])
        for before, word in zip(["", *words], words, strict=False):
            if before == "-m":
                assert word.removeprefix("not ") in markers, line
            elif word.endswith(".py"):
                assert (REPOSITORY / word).is_file(), line


def _run_module(module: str, words: list[str]) -> str:
    """Run a module with words in this process, and return what it says."""
    said, former = io.StringIO(), sys.argv
    sys.modules.pop(module, None)  # another test may have loaded it by its own name
    sys.argv = [module, *words]
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        said.write(end.code if isinstance(end.code, str) else "")
    finally:
        sys.argv = former
    return said.getvalue()
