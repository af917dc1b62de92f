from __future__ import annotations

from datetime import timedelta

import numpy as np

from adwright.data.features import Feature
from adwright.delivery.stages.sources import ProfileCodes
from tests.support.delivery.cascade_parts import LATER, histories, on_day, request, task

FEATURES = task().profile_features


def column(codes: np.ndarray, name: str) -> list[int]:
    return codes[:, [f.name for f in FEATURES].index(name)].tolist()


def test_codes_are_those_of_the_task() -> None:
    source = task()
    visits = source.visits("test")
    known = ProfileCodes(FEATURES, histories())
    asked = [request(source.users[source.visit_user[v]], time=on_day(7)) for v in visits]
    found = known.codes(histories().batch(asked))
    town, hour = ([f.name for f in FEATURES].index(name) for name in ("town", "hour"))
    assert found[:, town].tolist() == source.profile[visits, town].tolist()
    assert found[:, hour].tolist() == source.profile[visits, hour].tolist()


def test_what_nobody_knows_is_code_0() -> None:
    known = histories()
    codes = ProfileCodes(FEATURES, known)
    known.append("late", ["i1"], [on_day(1)])  # no profile when the codes were made
    found = codes.codes(known.batch([request("nobody"), request("late"), request("u1")]))
    assert column(found, "town")[:2] == [0, 0] != column(found, "town")[2:]
    # The task only saw nine o'clock.
    assert column(found, "hour") == [0, 0, 0]


def test_the_request_knows_better_than_its_time() -> None:
    batch = histories().batch(
        [request(time=LATER - timedelta(hours=3)), request(context={"hour": "9", "weekday": 2})]
    )
    found = ProfileCodes(FEATURES, histories()).codes(batch)
    assert column(found, "hour")[0] == column(found, "hour")[1] > 0
    weekday = next(f for f in FEATURES if f.name == "weekday")
    assert weekday.vocabulary[column(found, "weekday")[1] - 1] == "2"


def test_the_person_can_be_a_feature() -> None:
    feature = Feature("user_id", "categorical", "user", ("u1", "u3"))
    batch = histories().batch([request("u3"), request("nobody")])
    assert ProfileCodes([feature], histories()).codes(batch).tolist() == [[2], [0]]
