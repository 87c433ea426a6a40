"""What the sections of the configuration are made of: a base, its validation, their table."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from wsipsm.errors import SettingsError


class Section(BaseModel):
    """Base of all sections: frozen, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Section)


def parse(section: type[S], values: dict[str, Any], *, where: str) -> S:
    """Validate `values` as a section; `SettingsError` names the first wrong key in one sentence."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {key}: {first['msg']} (got {str(first['input'])[:80]!r})"
        raise SettingsError(f"{message}; see config/README.md") from None


def settings_table(config: type[Section]) -> str:
    """Markdown table of every setting: name, default, what is allowed, description.

    Fields of `config` that are sections themselves give a row for each of theirs.
    """
    schema = config.model_json_schema()
    lines = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in config.model_fields.items():
        section = field.get_default()
        if isinstance(section, Section):
            properties = schema["$defs"][type(section).__name__]["properties"]
            lines += [_table_row(f"{name}.{key}", value) for key, value in properties.items()]
        else:
            lines.append(_table_row(name, schema["properties"][name]))
    return "\n".join(lines)


def _table_row(name: str, schema: dict[str, Any]) -> str:
    default = schema["default"]
    shown = ", ".join(default) if isinstance(default, list | tuple) else default
    return f"| `{name}` | {shown} | {_allowed(schema)} | {schema['description']} |"


def _allowed(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words: `number, >= 0, < 1`, or `list of he, ihc`."""
    if schema["type"] == "array":
        return f"list of {_allowed(schema['items'])}"
    if "enum" in schema or "const" in schema:
        return ", ".join(schema.get("enum") or [schema["const"]])
    words = {
        "minimum": ">= {}",
        "exclusiveMinimum": "> {}",
        "maximum": "<= {}",
        "exclusiveMaximum": "< {}",
        "multipleOf": "multiple of {}",
    }
    bounds = [words[key].format(schema[key]) for key in words if key in schema]
    return ", ".join([{"string": "text"}.get(schema["type"], schema["type"]), *bounds])
