"""JSON Schema for editors, made from the models so that it cannot disagree with them."""

from __future__ import annotations

from typing import Any

from .root import ConfigFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration file: shapes, enums and descriptions.

    What spans several places, such as a rule naming a pool, is not in it: loading checks that.
    """
    schema = ConfigFile.model_json_schema(mode="validation")
    rule = schema["$defs"]["RuleConfig"]
    rule["anyOf"] = [{"required": ["when"]}, {"required": ["match"]}]
    return {"$schema": DIALECT, **schema, "title": "turnout configuration"}
