"""The transaction, on a machine in memory: proven and kept, or taken back, whatever goes wrong in between."""

from __future__ import annotations

import errno

import pytest

from mailseal.apply import Transactions
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.journal import Journal
from mailseal.model import AbsentWish, DirectoryWish, FileState, FileWish, LinkWish, Wish
from mailseal.recover import Recovery
from mailseal.steps import Deploy, Put
from tests.support.daemon import CONF, SERVICE, Daemon, DaemonProver, NoRehearsal
from tests.support.memory import Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
CURRENT = f"{ROOT}/lineages/mail/current"
CONF_LINK = f"{ROOT}/lineages/mail/current"


class Stand:
    """A machine on which the daemon serves `old`, and generation `new` lies ready."""

    def __init__(self, new: str = "new") -> None:
        self.machine = Machine()
        self.system = MemorySystem(self.machine)
        put = self.machine.put
        for folder in (ROOT, f"{ROOT}/lineages", f"{ROOT}/lineages/mail", f"{ROOT}/journal"):
            self.machine.put_directory(folder, mode=0o700)
        put(f"{ROOT}/lineages/mail/0001", "old")
        put(f"{ROOT}/lineages/mail/0002", new)
        self.machine.put_link(CURRENT, "0001")
        put(CONF, f"{CURRENT}\n")
        put("/etc/away", "somebody's\n")
        self.daemon = Daemon(self.machine)
        self.daemon.start()
        self.before = self.machine.tree("/etc")

    def transactions(self, no_way_back: str = "") -> Transactions:
        self.prover = DaemonProver(self.daemon)
        process = MemorySystem(self.machine)
        return Transactions(
            process,
            Journal(process, ROOT),
            self.prover,
            NoRehearsal(),
            look_again=lambda: (SERVICE,),
            vet=lambda step: None,
            no_way_back=lambda step: no_way_back,
            say=lambda line: None,
        )

    def journal(self) -> Journal:
        return Journal(MemorySystem(self.machine), ROOT)

    def step(self) -> Deploy:
        wishes: tuple[Wish, ...] = (
            DirectoryWish("/etc/daemon.d"),
            LinkWish(CURRENT, "0002"),
            FileWish("/etc/daemon.d/extra", b"extra\n"),
            FileWish(CONF, f"{CURRENT}\n\n".encode()),
            AbsentWish("/etc/away"),
        )
        files = MemorySystem(self.machine).files
        puts = tuple(Put(wish, files.state(wish.path)) for wish in wishes)
        return Deploy("serve the new one", puts, ("daemon",), (("mail", 2),))

    def recover(self) -> None:
        """What the next run does first."""
        journal, transactions = self.journal(), self.transactions()
        recovery = Recovery(MemorySystem(self.machine), journal, transactions, self.prover, lambda line: None)
        for record in journal.open_records():
            recovery.recover(record, (SERVICE,))
        assert not journal.open_records()

    def whole(self) -> str:
        """`old` or `new` where everything on disk is of one of them; a failed test where it is a mixture."""
        etc, target = self.machine.tree("/etc"), self.system.files.state(CURRENT).target
        if target == "0001":
            assert etc == self.before
            return "old"
        assert etc["/etc/daemon.d/extra"].content == b"extra\n" and "/etc/away" not in etc
        return "new"


def test_a_good_change_is_kept_and_remembered() -> None:
    stand = Stand()
    outcome = stand.transactions().deploy(stand.step(), (SERVICE,))
    assert outcome.proven and stand.whole() == "new" and stand.daemon.serves == "new"
    assert stand.daemon.reloads == 1 and stand.daemon.restarts == 0
    journal = stand.journal()
    assert not journal.open_records()
    assert {entry.path for entry in journal.baseline()} == {
        CONF,
        "/etc/away",
        "/etc/daemon.d",
        "/etc/daemon.d/extra",
    }


def test_a_daemon_that_dies_of_it_is_brought_back() -> None:
    stand = Stand(new="poison")
    with pytest.raises(ApplyFailed) as caught:
        stand.transactions().deploy(stand.step(), (SERVICE,))
    assert stand.whole() == "old" and stand.daemon.serves == "old"
    assert "nobody answers" in caught.value.reason
    assert "Every file is as it was before" in caught.value.state
    assert stand.journal().baseline() == ()


def test_restart_is_the_fallback_of_an_undo() -> None:
    stand = Stand(new="poison")
    transactions = stand.transactions()
    run = stand.daemon._reload

    def throttle(*args: object) -> object:
        stand.daemon.throttled = True
        return run(*args)  # type: ignore[arg-type]

    stand.machine.programs.on("daemonctl", "reload")(throttle)  # type: ignore[arg-type]
    with pytest.raises(ApplyFailed):
        transactions.deploy(stand.step(), (SERVICE,))
    assert stand.daemon.restarts == 1 and stand.daemon.serves == "old" and not stand.daemon.throttled


def test_a_configuration_broken_before_stops_it_untouched() -> None:
    stand = Stand()
    stand.machine.put(CONF, "\n")
    step = stand.step()
    stand.before = stand.machine.tree("/etc")
    with pytest.raises(ApplyFailed, match="before any change of ours") as caught:
        stand.transactions().deploy(step, (SERVICE,))
    assert caught.value.state == "Nothing was changed and nothing was reloaded."
    assert stand.whole() == "old" and stand.daemon.reloads == 0


def test_an_edit_underneath_is_not_overwritten() -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.put(CONF, f"{CURRENT}\n# the admin's\n")
    with pytest.raises(MailsealError, match="changed by somebody else"):
        stand.transactions().deploy(step, (SERVICE,))
    assert stand.system.files.read(CONF).endswith(b"# the admin's\n")
    assert stand.daemon.serves == "old"


def test_nothing_goes_back_to_what_has_expired() -> None:
    stand = Stand(new="poison")
    outcome = stand.transactions(no_way_back="generation 0001 expires today").deploy(stand.step(), (SERVICE,))
    assert not outcome.proven and stand.whole() == "new" and stand.daemon.restarts == 1


def _effects_of_a_deploy() -> int:
    stand = Stand()
    count = len(stand.machine.effects)
    stand.transactions().deploy(stand.step(), (SERVICE,))
    return len(stand.machine.effects) - count


EFFECTS = _effects_of_a_deploy()


@pytest.mark.parametrize("at", range(EFFECTS))
def test_killed_at_any_effect_the_next_run_finds_a_whole_state(at: int) -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.goes_wrong(Killed(), at=at)
    with stand.machine.death():
        stand.transactions().deploy(step, (SERVICE,))
    stand.machine.all_well()
    stand.recover()
    state = stand.whole()
    assert stand.daemon.serves in (state, "old"), "a daemon that was not reloaded serves the old one"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("at", range(EFFECTS))
def test_refused_at_any_effect_it_is_taken_back(at: int, code: int) -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.goes_wrong(code, at=at)
    try:
        stand.transactions().deploy(step, (SERVICE,))
    except MailsealError:
        stand.machine.all_well()
        stand.recover()
        assert stand.whole() == "old" or stand.daemon.serves == "new"
    assert stand.daemon.serves == stand.whole()


def test_directories_come_back_too() -> None:
    stand = Stand()
    stand.transactions().deploy(stand.step(), (SERVICE,))
    assert stand.system.files.state("/etc/daemon.d") != FileState("absent")
