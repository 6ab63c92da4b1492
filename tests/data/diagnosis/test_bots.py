from recdl.data.diagnosis.bots import BURST_MOMENTS, Bots, bot_findings, measure_bots
from recdl.data.diagnosis.timeline import DAY, HOUR, SECOND
from recdl.data.interactions import Interactions
from tests.logs import Event, log_of_events

PERSONS = 40


def log(*bots: list[int]) -> Interactions:
    """Persons with ten events on each of three days, an hour apart, and then users with the given times."""
    events: list[Event] = [
        (user, day * DAY + (hour + 8) * HOUR, 0, hour)
        for user in range(PERSONS)
        for day in range(3)
        for hour in range(10)
    ]
    events += [(PERSONS + place, time, 0, 0) for place, times in enumerate(bots) for time in times]
    return log_of_events(events, n_users=PERSONS + len(bots), n_items=10)


def suspected(*bots: list[int], resolution: str = "second") -> Bots:
    return measure_bots(log(*bots), resolution=resolution)


def test_persons_are_no_bots() -> None:
    bots = suspected()
    assert bots.suspects.tolist() == []
    assert list(bot_findings(bots, events=1_200)) == []
    assert (bots.busiest_day, bots.typical_busiest_day) == (10, 10.0)


def test_an_event_a_second_for_a_minute_is_no_person() -> None:
    bots = suspected([n * SECOND for n in range(BURST_MOMENTS)])
    assert bots.suspects.tolist() == [PERSONS]
    assert bots.by_rule == {"burst": 1, "round_the_clock": 0, "busy_day": 0}


def test_a_little_slower_is_a_person_in_a_hurry() -> None:
    assert suspected([n * SECOND * 61 // 59 for n in range(BURST_MOMENTS)]).suspects.tolist() == []


def test_a_basket_of_many_items_at_one_moment_is_no_burst() -> None:
    assert suspected([0] * 150).suspects.tolist() == []


def test_a_day_without_sleep_is_no_person() -> None:
    bots = suspected([hour * HOUR for hour in range(23)], [hour * HOUR for hour in range(22)])
    assert bots.suspects.tolist() == [PERSONS]
    assert bots.by_rule["round_the_clock"] == 1


def test_a_day_is_one_of_the_clock_that_is_given() -> None:
    times = [(hour + 12) * HOUR for hour in range(24)]
    assert measure_bots(log(times), resolution="second").suspects.tolist() == []
    assert measure_bots(log(times), resolution="second", shift=12 * HOUR).suspects.tolist() == [PERSONS]


def test_a_day_far_busier_than_those_of_the_others_is_no_persons() -> None:
    bots = suspected([n * 60 * SECOND for n in range(800)], [n * 100 * SECOND for n in range(40)])
    assert bots.suspects.tolist() == [PERSONS]
    assert bots.by_rule == {"burst": 0, "round_the_clock": 0, "busy_day": 1}
    assert bots.busiest_day == 800


def test_where_all_are_busy_none_is_suspected() -> None:
    events = [(user, n * 60 * SECOND, 0, 0) for user in range(5) for n in range(400 + 50 * user)]
    assert not len(measure_bots(log_of_events(events, n_users=5, n_items=1), resolution="second").suspects)


def test_times_too_coarse_tell_less() -> None:
    burst = [n * SECOND for n in range(BURST_MOMENTS)]
    assert suspected(burst, resolution="minute").suspects.tolist() == []
    assert suspected([hour * HOUR for hour in range(24)], resolution="day").suspects.tolist() == []


def test_bots_are_told_by_number_and_weight_alone() -> None:
    bots = suspected([n * SECOND for n in range(60)])
    (told,) = bot_findings(bots, events=1_260)
    assert (told.severity, told.title) == ("warning", "1 user is too active to be a person")
    assert told.evidence.startswith("4.8 % of the events")
    assert "suspects=PATH" in told.advice
    assert "suspects" not in bots.to_json()
    (grave,) = bot_findings(suspected([n * SECOND for n in range(400)]), events=1_600)
    assert grave.severity == "serious"
