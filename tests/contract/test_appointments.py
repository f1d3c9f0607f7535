"""At most one waiting job for a purpose: on the embedded server and on one over TCP."""

import pytest

from repositories.redis.appointments import RedisAppointments
from repositories.redis.database import RedisDatabase
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT, HostingNudges
from services.ports import Appointments
from tests.contract.stores import at_once


@pytest.fixture
def appointments(database: RedisDatabase) -> Appointments:
    """Give the appointments, none made."""
    database.client.flushdb()
    return RedisAppointments(database)


class Jobs:
    """Implement `JobQueue`: what is asked for is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Keep the job."""
        self.asked.append((job, argument, delay))


def test_an_appointment_is_made_once_and_an_earlier_one_takes_its_place(appointments: Appointments) -> None:
    assert appointments.make("p", "first", 60)
    assert not appointments.make("p", "second", 60.5)
    assert appointments.make("other", "another", 60)
    assert appointments.make("p", "earlier", 5)
    assert not appointments.keep("p", "first")
    assert appointments.keep("p", "earlier")
    assert appointments.make("p", "next", 60)


def test_a_job_whose_appointment_is_lost_is_done_all_the_same(appointments: Appointments) -> None:
    assert appointments.keep("p", "forgotten")


def test_an_appointment_ends_when_its_job_must_have_been_lost(
    appointments: Appointments, database: RedisDatabase
) -> None:
    appointments.make("p", "lost", 60)
    assert 150_000 < int(database.client.pttl("orquestra:appointment:p")) <= 180_000


def test_of_many_callers_one_makes_it(appointments: Appointments) -> None:
    assert sum(at_once(16, lambda number: appointments.make("p", str(number), 60))) == 1


def test_however_often_an_assistant_is_to_be_synchronized_one_job_waits(appointments: Appointments) -> None:
    jobs = Jobs()
    nudges = HostingNudges(jobs, appointments)
    for _ in range(50):
        nudges.ask("a", 150)
    nudges.ask("a", 151, full=True)
    nudges.ask("b", 150)
    assert [(job, argument.partition(":")[0]) for job, argument, _ in jobs.asked] == [
        (SYNC_ASSISTANT, "a"),
        (CHECK_ASSISTANT, "a"),
        (SYNC_ASSISTANT, "b"),
    ]


def test_a_job_that_another_took_the_place_of_does_nothing_and_chains_do_not_multiply(
    appointments: Appointments,
) -> None:
    jobs = Jobs()
    nudges = HostingNudges(jobs, appointments)
    nudges.ask("a", 150)
    nudges.ask("a")
    (_, later, _), (_, sooner, _) = jobs.asked
    assert nudges.begin(SYNC_ASSISTANT, sooner) == "a"
    nudges.ask("a", 150)  # a document is replaced while it runs
    nudges.ask("a", 10)  # it asks for its own next run
    assert nudges.begin(SYNC_ASSISTANT, later) is None
    assert nudges.begin(SYNC_ASSISTANT, jobs.asked[2][1]) is None
    assert nudges.begin(SYNC_ASSISTANT, jobs.asked[3][1]) == "a"
    assert nudges.begin(SYNC_ASSISTANT, "a") == "a"
