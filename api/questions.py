"""Reads a question about readings from a request: its query, and the JSON body that a POST may bring as well."""

import re
from typing import Annotated, Any, Literal

from fastapi import Body, Depends, Query
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from api import schemas
from api.window import Moment, window
from shared import questions
from shared.questions import MOST_BINS, MOST_QUANTILES, Question

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def _whole(value: object) -> object:
    """Let pass an integer, also as a query has it. Pydantic takes true, 5.0, 1_0 and digits of other scripts for some, too."""
    if type(value) is int or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        return value
    raise PydanticCustomError("int_type", "must be an integer")


#: Where pydantic by itself would take more than is meant.
Whole = Annotated[int, BeforeValidator(_whole)]
Axes = Annotated[
    str | None, Query(description="Which axes, such as x,y; all of them unless it says so.", max_length=20)
]
Quantiles = Annotated[
    str | None, Query(description="Quantiles between 0 and 1, such as 0.05,0.5,0.95.", max_length=2000)
]
Bins = Annotated[Whole | None, Query(ge=1, le=MOST_BINS, description="A histogram with so many bins.")]
Magnitude = Annotated[bool, Query(description="The length of (x, y, z) as one more axis.")]
Bucket = Annotated[
    str | None,
    Query(description="The same numbers per bucket, such as 15m, 1h, 1d or PT15M, counted from 1970.", max_length=60),
]
Start = Annotated[Moment | None, Query(description="First moment of the window; UTC unless it says so.")]
End = Annotated[Moment | None, Query(description="First moment after the window; UTC unless it says so.")]

#: How the answer comes: each device by itself, or all as one, which is what is meant where nothing is said.
Grouping = Literal["device", "together"]


class QuestionBody(schemas.Body):
    """What a question may say in a body instead of the query. What the body says counts."""

    start: Moment | None = None
    end: Moment | None = None
    axes: Annotated[list[Literal["x", "y", "z"]], Field(min_length=1, max_length=3)] | None = None
    quantiles: (
        Annotated[
            list[Annotated[float, Field(ge=0, le=1, strict=True)]], Field(min_length=1, max_length=MOST_QUANTILES)
        ]
        | None
    ) = None
    histogram: Annotated[int, Field(ge=1, le=MOST_BINS, strict=True)] | None = None
    magnitude: Annotated[bool, Field(strict=True)] | None = None
    bucket: Annotated[str, Field(max_length=60)] | None = None


class UserQuestionBody(QuestionBody):
    group_by: Grouping | None = None


def of_query(
    start: Start = None,
    end: End = None,
    axes: Axes = None,
    quantiles: Quantiles = None,
    histogram: Bins = None,
    magnitude: Magnitude = False,
    bucket: Bucket = None,
) -> dict[str, Any]:
    """Gather what the query says."""
    return {
        "start": start,
        "end": end,
        "axes": None if axes is None else axes.split(","),
        "quantiles": None if quantiles is None else quantiles.split(","),
        "histogram": histogram,
        "magnitude": magnitude,
        "bucket": bucket,
    }


Asked = Annotated[dict[str, Any], Depends(of_query)]
AskedInBody = Annotated[QuestionBody | None, Body()]
UserAskedInBody = Annotated[UserQuestionBody | None, Body()]


def question_of(query: dict[str, Any], body: QuestionBody | None = None) -> Question:
    """Make a question of both. Raises InvalidRecord."""
    said = {} if body is None else {name: value for name, value in body if value is not None}
    asked = {**query, **said}
    span = window(asked["start"], asked["end"])
    question = Question(
        span.start,
        span.end,
        axes=questions.AXES if asked["axes"] is None else questions.axes(asked["axes"]),
        magnitude=asked["magnitude"],
        quantiles=() if asked["quantiles"] is None else questions.quantiles(asked["quantiles"]),
        histogram=asked["histogram"],
        bucket=None if asked["bucket"] is None else questions.bucket(asked["bucket"]),
    )
    question.require_bounded()
    return question
