"""Settings and the slide sheet: each mistake is one sentence that says where."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wsipsm.config import Config, Section, Tiling, parse
from wsipsm.errors import SettingsError
from wsipsm.sections import settings_table
from wsipsm.sheet import SlideRow, read_slide_sheet

GOOD = "slide\tpath\na\ta.svs\n"


def write_sheet(folder: Path, text: str, *, files: tuple[str, ...] = ("a.svs", "b.svs")) -> Path:
    """A slide sheet whose slides lie beside it, each path made absolute."""
    for name in files:
        (folder / name).touch()
        text = text.replace(f"\t{name}", f"\t{folder / name}")
    sheet = folder / "slides.tsv"
    sheet.write_text(text, encoding="utf-8")
    return sheet


def test_sheet_is_read_with_defaults(tmp_path: Path) -> None:
    first = "slide\tpath\tmpp\tstain\tsplit\tannotations\ttruth\n"
    text = f"{first}a\ta.svs\t0.5\tihc\ttest\tb.svs\ta.svs\nb\tb.svs\t\t\t\n"
    rows = read_slide_sheet(write_sheet(tmp_path, text))
    assert rows == [
        SlideRow(
            slide="a",
            path=str(tmp_path / "a.svs"),
            mpp=0.5,
            stain="ihc",
            split="test",
            annotations=str(tmp_path / "b.svs"),
            truth=str(tmp_path / "a.svs"),
        ),
        SlideRow(slide="b", path=str(tmp_path / "b.svs"), stain="he", split="train"),
    ]


@pytest.mark.parametrize(
    ("split", "truth", "lesson", "scored_on"),
    [
        ("train", None, "drawn", None),
        ("train", "true", "drawn", "true"),
        ("test", None, None, "drawn"),
        ("test", "true", None, "true"),
    ],
)
def test_annotations_teach_or_are_scored_on_but_never_both(
    split: str, truth: str | None, lesson: str | None, scored_on: str | None
) -> None:
    values = {"slide": "a", "path": "a.svs", "split": split, "annotations": "drawn"}
    row = SlideRow.model_validate({**values, "truth": truth})
    assert (row.lesson, row.scored_on) == (lesson, scored_on)


def test_blank_lines_and_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path, "\ufeff" + GOOD + "\n\t\n")
    assert [row.slide for row in read_slide_sheet(sheet)] == ["a"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("slide\tpath\n", "no slides"),
        ("", "column 'slide' is missing"),
        ("slide\na\n", "column 'path' is missing"),
        ("slide\tpath\tmagnification\na\ta.svs\t40\n", "unknown column 'magnification'"),
        ("slide,path\na,a.svs\n", "unknown column 'slide,path'"),
        ("slide\tpath\tpath\na\ta.svs\ta.svs\n", "named twice"),
        ("slide\tpath\na\ta.svs\nA\tb.svs\n", "slide 'A' is named twice"),
        ("slide\tpath\na\tno.svs\n", "no.svs: no such file"),
        ("slide\tpath\tannotations\na\ta.svs\tno.geojson\n", "no.geojson: no such file"),
        ("slide\tpath\ttruth\na\ta.svs\tno.png\n", "no.png: no such file"),
        ("slide\tpath\tannotations\ttruth\na\ta.svs\ta.svs\ta.svs\n", "cannot both teach"),
        ("slide\tpath\na/b\ta.svs\n", "line 2: slide"),
        ("slide\tpath\na\ta.svs\n../b\tb.svs\n", "line 3: slide"),
        ("slide\tpath\na..b\ta.svs\n", "unfit for a path"),
        ("slide\tpath\n\ta.svs\n", "line 2: slide"),
        ("slide\tpath\tmpp\na\ta.svs\t0,25\n", "line 2: mpp"),
        ("slide\tpath\tmpp\na\ta.svs\t250\n", "line 2: mpp"),
        ("slide\tpath\tmpp\na\ta.svs\tnan\n", "line 2: mpp"),
        ("slide\tpath\tstain\na\ta.svs\tHE\n", "line 2: stain"),
        ("slide\tpath\tsplit\na\ta.svs\tvalidation\n", "line 2: split"),
        ("slide\tpath\tsplit\na\ta.svs\ttest\n", "no slide to learn from"),
        ("slide\tpath\na\ta.svs\tmore\n", "line 2: more cells than columns"),
    ],
)
def test_mistake_in_the_sheet_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_slide_sheet(write_sheet(tmp_path, text))
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "slides.tsv"))
    assert "\n" not in str(error.value)


HOSTILE = ["<script>alert(1)</script>", "../up", "a b", "'a'", 'a"b', "Ω", "-rf", ".", "x" * 101]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_slides_are_refused(tmp_path: Path, name: str) -> None:
    quoted = name.replace('"', '""')
    with pytest.raises(SettingsError, match="line 2: slide"):
        read_slide_sheet(write_sheet(tmp_path, f'slide\tpath\n"{quoted}"\ta.svs\n'))


@pytest.mark.parametrize("name", ["", "a\nb", "a\tb", "a: b", "x" * 61])
def test_hostile_names_of_classes_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="classes"):
        parse(Config, {"pseudomasks": {"classes": [name]}}, where="config.yaml")


def test_sheet_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such slide sheet"):
        read_slide_sheet(tmp_path / "slides.tsv")
    sheet = tmp_path / "sheet.tsv"
    sheet.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_slide_sheet(sheet)


@given(st.text(max_size=120))
def test_any_name_is_taken_as_one_folder_or_refused(name: str) -> None:
    try:
        row = parse(SlideRow, {"slide": name, "path": "a.svs"}, where="sheet")
    except SettingsError:
        return
    assert Path(row.slide).parts == (row.slide,)


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers(), min_size=1))
def test_unknown_settings_are_refused_where_they_stand(values: dict[str, object]) -> None:
    assume(not set(values) & set(Tiling.model_fields))
    with pytest.raises(SettingsError, match=r"^config\.yaml: "):
        parse(Tiling, values, where="config.yaml")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tyling": {}}, "tyling"),
        ({"tiling": None}, "tiling"),
        ({"tiling": {"tile_px": 100}}, "tiling.tile_px"),
        ({"tiling": {"mpp": "fine"}}, "tiling.mpp"),
        ({"export": {"formats": ["pdf"]}}, "export.formats.0"),
        ({"pseudomasks": {"classes": ["a: b"]}}, "pseudomasks.classes.0"),
        ({"models": []}, "models"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_setting_names_its_key(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=rf"config/config.yaml: {sentence}: .+"):
        parse(Config, values, where="config/config.yaml")


def test_exponents_as_yaml_reads_them_are_numbers() -> None:
    config = parse(Config, {"training": {"learning_rate": "2e-3"}}, where="config/config.yaml")
    assert config.training.learning_rate == 0.002


def test_every_setting_is_described_and_in_the_table() -> None:
    table = settings_table(Config)
    for name, field in Config.model_fields.items():
        section = field.get_default()
        inner = type(section).model_fields if isinstance(section, Section) else {}
        keys = [f"{name}.{key}" for key in inner] or [name]
        assert all(f"| `{key}` |" in table for key in keys)
        assert all(each.description for each in inner.values())


def test_generated_schema_is_up_to_date() -> None:
    file = Path(__file__).parents[1] / "config/config.schema.json"
    assert json.loads(file.read_text()) == Config.model_json_schema()
