"""Refuses query parameters that a path does not have: one that is misspelt would be ignored, and everything answered."""

from collections.abc import Collection, Iterator
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.errors import Answer, problem
from shared.streams.rejections import safe_name


def names_of(route: APIRoute) -> frozenset[str]:
    """The query parameters of a route, with those of what it depends on."""
    return frozenset(_of(route.dependant))


def refusal(query: bytes, known: Collection[str]) -> Answer | None:
    """Answer a query that has other names than these: each is named, where it is a plain word, and what there is."""
    names = dict.fromkeys(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    there_are = f"there are {', '.join(sorted(known))}" if known else "there is none here"
    faults = [
        {"field": safe_name(name), "code": "unknown_parameter", "message": f"is no parameter; {there_are}"}
        for name in names
        if name not in known
    ]
    return problem(422, "invalid", "The input is not valid", errors=faults[:_MOST]) if faults else None


#: Faults in one answer.
_MOST = 20


def _of(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):  # its members are the parameters
            yield from (one.alias or name for name, one in model.model_fields.items())
        else:
            yield field.alias
    for one in dependant.dependencies:
        yield from _of(one)
