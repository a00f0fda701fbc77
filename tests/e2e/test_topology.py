"""A broker that is not as designed is told of, loudly, and worked with again once it is mended."""

from factories import Weir, reading

from shared.streams import READINGS

CLASSIC = {"durable": True, "arguments": {"x-queue-type": "classic"}}


def test_queue_of_another_type_is_named_and_nobody_dies_of_it(weir: Weir) -> None:
    weir.environment["WEIR_MANAGEMENT_URL"] = weir.management_url
    weir.management("PUT", f"queues/{{vhost}}/{READINGS.queue}", json=CLASSIC)
    weir.run("consumer", "-m", "consumer")
    weir.run("api", "-m", "api")
    for name in ("api", "consumer"):
        weir.wait_for(lambda name=name: "inequivalent arg 'x-queue-type'" in weir.log(name))
        weir.wait_for(lambda name=name: "is of type classic, not quorum" in weir.log(name))
    weir.wait_for(lambda: "startup complete" in weir.log("api"))
    assert not weir.is_ready()
    answer = weir.http.get("/readyz").json()
    assert "topology is not as designed" in answer["broker"]
    assert f"queue {READINGS.queue} is of type classic, not quorum" in answer["topology"]
    pids = {name: weir.pid(name) for name in ("api", "consumer")}
    weir.management("DELETE", f"queues/{{vhost}}/{READINGS.queue}")
    weir.wait_for(weir.is_ready)
    assert weir.http.post(f"/devices/{weir.device()}/stats/", json=reading()).status_code == 202
    weir.wait_until_stored(1)
    assert pids == {name: weir.pid(name) for name in ("api", "consumer")}
    # It waits longer each time: somebody must read this log.
    assert weir.log("consumer").count("broker connection lost") < 60


def test_missing_policy_is_logged_at_the_start_and_readings_are_taken(weir: Weir) -> None:
    weir.environment["WEIR_MANAGEMENT_URL"] = weir.management_url
    weir.management("DELETE", "policies/{vhost}/streams")
    weir.start("consumer", "api")
    weir.wait_for(lambda: "reject-publish" in weir.http.get("/readyz").json()["topology"])
    assert weir.http.get("/readyz").status_code == 200
    for name in ("api", "consumer"):
        weir.wait_for(lambda name=name: "the broker's topology is not as designed" in weir.log(name))


def test_without_a_management_api_it_says_that_it_did_not_look(weir: Weir) -> None:
    weir.start("api")
    assert weir.http.get("/readyz").json()["topology"] == "not checked: WEIR_MANAGEMENT_URL is not set"
