"""Settings change while the worker runs: nothing is lost, cut or sent twice, and faults are kept out."""

import os
import signal
from pathlib import Path
from typing import Final

import aio_pika

from contracts.journal import SETTINGS_REV_HEADER, Record, What
from contracts.topology import journal_stream
from tests.acceptance.conftest import World
from tests.acceptance.test_journal import ONE_MAIL, records
from tests.support.examples import SYSTEM, fresh_example
from tests.support.ports import closed_port
from tests.support.worker import Worker

MAILS: Final = 200
SERVER: Final = "EmailSMTPHost = 127.0.0.1\nEmailSmtpPort = {}\n"
LOGIN: Final = "EmailSmtpUsername = cms\nEmailSmtpPassword = {}\nNOTIFY_SMTP_MAX_SESSIONS = {}\n"


def settings_file(world: World, text: str) -> Path:
    """A settings file that holds `text`."""
    file = world.folder / "settings.txt"
    file.write_text(text)
    return file


def replaced(file: Path, text: str) -> None:
    """Replaces the file by another, as editors and deployments do."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.rename(file)


def hang_up(worker: Worker) -> None:
    """SIGHUP, as `systemctl reload` sends it."""
    os.kill(worker.pid, signal.SIGHUP)


def demand_login(world: World, password: str) -> None:
    """The server lets in only the user `cms` with `password`."""
    world.smtp.mechanisms, world.smtp.login_required = ("PLAIN",), True
    world.smtp.users = {"cms": password}


async def revisions(world: World, count: int) -> list[tuple[What, str]]:
    """The first messages of the journal that are about a worker: what it did, and under which revision."""
    groups: list[aio_pika.abc.AbstractIncomingMessage] = await records(
        world.url, journal_stream(world.prefix), count
    )
    return [
        (record.what, str(group.headers[SETTINGS_REV_HEADER]))
        for group in groups
        for record in map(Record.read, group.body.splitlines())
        if record.what in {What.STARTED, What.RELOADED}
    ]


async def test_a_password_is_changed_while_mail_flows_over_two_sessions(world: World) -> None:
    """None lost, none twice, none dead; what begins afterwards logs in with the new one."""
    demand_login(world, "old-one")
    file = settings_file(world, LOGIN.format("old-one", 2))
    for _ in range(MAILS):
        await world.publish(fresh_example(ONE_MAIL))
    world.smtp.delay("BODY", 0.02)
    worker = await world.worker(NOTIFY_SETTINGS_FILE=str(file))
    await world.smtp.until_accepted(MAILS // 4)
    demand_login(world, "new-one")
    replaced(file, LOGIN.format("new-one", 2))
    hang_up(worker)
    await world.smtp.until_accepted(MAILS)
    await world.until_unfinished({})
    assert len(world.smtp.accepted) == len({mail["Message-ID"] for mail in world.mails()}) == MAILS
    assert await world.dead_letters() == {}
    assert {login.secret for login in world.smtp.logins} == {"old-one", "new-one"}
    assert all(login.ok for login in world.smtp.logins)
    started, reloaded = await revisions(world, 3)
    assert (started[0], reloaded[0]) == (What.STARTED, What.RELOADED)
    assert started[1] != reloaded[1] == worker.said(action="reload")[0]["settings_rev"]
    assert "old-one" not in worker.text
    assert "new-one" not in worker.text


async def test_a_wrong_password_that_is_mended_sends_what_comes_next(world: World) -> None:
    """The refusal is not held against the new settings; the dead letter keeps the revision it died under."""
    demand_login(world, "right")
    file = settings_file(world, LOGIN.format("wrong", 2))
    worker = await world.worker(NOTIFY_SETTINGS_FILE=str(file))
    await world.publish(fresh_example(ONE_MAIL))
    await worker.until_said(outcome="dead", code="smtp-authentication-refused")
    replaced(file, LOGIN.format("right", 2))
    await worker.until_said(action="reload", seconds=5)
    await world.publish(fresh_example(ONE_MAIL))
    await world.smtp.until_accepted(1)
    died_under = (await world.dead("config")).headers["notify-settings-rev"]
    assert died_under == worker.said(action="start")[0]["settings_rev"]
    assert worker.said(action="reload")[0]["settings"] == ["EmailSmtpPassword"]


async def test_a_file_with_faults_is_kept_out_and_they_are_listed(world: World) -> None:
    """All of them, once; and the next good one is taken."""
    file = settings_file(world, "NOTIFY_SMTP_MAX_SESSIONS = 2")
    worker = await world.worker(NOTIFY_SETTINGS_FILE=str(file))
    file.write_text("NOTIFY_SMTP_MAX_SESSIONS = many\nEmailSmtpUseSLL = true")
    await worker.until_said(action="reload", level="error", seconds=5)
    faults = worker.said(action="reload")[0]["faults"]
    assert [fault.partition(":")[0] for fault in faults] == ["EmailSmtpUseSLL", "NOTIFY_SMTP_MAX_SESSIONS"]
    await world.publish(fresh_example(ONE_MAIL))
    await world.smtp.until_accepted(1)
    file.write_text("NOTIFY_SMTP_MAX_SESSIONS = 3")
    await worker.until_said(action="reload", level="info", seconds=5)
    await world.publish(fresh_example(ONE_MAIL))
    await world.smtp.until_accepted(2)
    assert len(worker.said(action="reload")) == 2


async def test_a_link_that_leads_elsewhere_is_a_changed_file(world: World) -> None:
    """As Kubernetes swaps the folder behind a mounted ConfigMap or Secret."""
    for name, sessions in (("one", 2), ("two", 3)):
        (world.folder / name).mkdir()
        (world.folder / name / "settings.txt").write_text(f"NOTIFY_SMTP_MAX_SESSIONS = {sessions}")
    data, swap, file = (world.folder / name for name in ("..data", "..swap", "settings.txt"))
    data.symlink_to("one")
    file.symlink_to("..data/settings.txt")
    worker = await world.worker(NOTIFY_SETTINGS_FILE=str(file))
    swap.symlink_to("two")
    swap.rename(data)
    await worker.until_said(action="reload", settings=["NOTIFY_SMTP_MAX_SESSIONS"], seconds=5)


async def test_two_hangups_in_a_row_leave_a_worker_that_works(world: World) -> None:
    """Everything is built anew, though nothing has changed, and the revision is the same."""
    worker = await world.worker()
    for _ in range(20):
        await world.publish(fresh_example(ONE_MAIL))
    hang_up(worker)
    hang_up(worker)
    await worker.until_said(action="reload")
    hang_up(worker)
    await worker.until_said(action="reload", times=2)
    await world.smtp.until_accepted(20)
    await world.until_unfinished({})
    assert len(world.smtp.accepted) == 20
    revs = {line["settings_rev"] for line in worker.said(action="reload") + worker.said(action="start")}
    assert len(revs) == 1
    assert await worker.stop() == 0


async def test_settings_that_change_over_and_over_under_load_lose_and_double_nothing(world: World) -> None:
    """Sessions, and so the prefetch, and logins: events of one and of two mails, in both lanes."""
    demand_login(world, "a")
    world.smtp.users = {"cms": "a", "other": "b"}
    file = settings_file(world, LOGIN.format("a", 2))
    world.smtp.delay("BODY", 0.01)
    worker = await world.worker(NOTIFY_SETTINGS_FILE=str(file))
    for number in range(15):
        for _ in range(10):
            await world.publish(fresh_example(ONE_MAIL))
            await world.publish(fresh_example(SYSTEM))
        user, password = (("cms", "a"), ("other", "b"))[number % 2]
        replaced(file, LOGIN.format(password, 1 + number % 4).replace("cms", user))
        hang_up(worker)
        await worker.until_said(action="reload", times=number + 1)
    await world.smtp.until_accepted(15 * 10 * 3, within=60)
    await world.until_unfinished({})
    assert len(world.smtp.accepted) == len({mail["Message-ID"] for mail in world.mails()}) == 15 * 10 * 3
    assert await world.dead_letters() == {}
    assert not worker.said(outcome="retry")
    assert world.smtp.most_connections <= 8


async def test_an_outage_ends_by_a_probe_when_the_settings_are_mended(world: World) -> None:
    """The pause is not longer than it takes to see that the new settings connect."""
    file = settings_file(world, SERVER.format(closed_port()))
    worker = world.file_worker(file)
    await world.publish(fresh_example(ONE_MAIL))
    await worker.until_said(action="pause", code="smtp-unreachable")
    await worker.until_said(action="probe", times=2)
    replaced(file, SERVER.format(world.smtp.port))
    hang_up(worker)
    await world.smtp.until_accepted(1, within=5)
    assert worker.said(action="resume")
    assert await world.dead_letters() == {}


async def test_an_outage_goes_on_where_other_settings_do_not_help(world: World) -> None:
    """A changed setting lets no mail run into a server that is still away."""
    file = settings_file(world, SERVER.format(closed_port()))
    worker = world.file_worker(file)
    await world.publish(fresh_example(ONE_MAIL))
    await worker.until_said(action="pause")
    replaced(file, SERVER.format(closed_port()))
    await worker.until_said(action="reload", seconds=5)
    await worker.until_said(action="pause", times=2)
    await worker.until_said(action="probe", times=2)
    assert not worker.said(action="resume")
    assert worker.said(outcome="dead") == []
