"""Old generations removed: which may go, as a table; and on a machine in memory, when, and killed in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from mailseal import services
from mailseal.config import Config
from mailseal.config.schema import State
from mailseal.errors import ExitCode, NetworkFault
from mailseal.history import Deed, History
from mailseal.model import KeyType
from mailseal.pruning import surplus
from mailseal.report import Report
from mailseal.services.base import ConfiguredCertificate
from mailseal.stores.state import LineageState, Rejection, Withdrawal
from tests.support.daemon import CONF
from tests.support.memory import Killed, Machine, MemorySystem
from tests.support.memory_effects import Effect
from tests.unit.test_reconcile import MAIL, ROOT, Adapter, Stand, one_service

__all__ = ["one_service"]
NOW = Machine().now


def refused(*numbers: int) -> LineageState:
    return LineageState(rejected=[Rejection(n, NOW, "no use", 1, NOW, unusable=True) for n in numbers])


@pytest.mark.parametrize(
    ("numbers", "current", "keep", "gone"),
    [
        ([1, 2, 3], 3, 3, []),
        ([1, 2, 3, 4], 4, 3, [1]),
        ([1, 2, 3, 4, 5], 5, 2, [1, 2, 3]),
        ([1, 2, 3, 4, 5], 4, 2, [1, 2]),  # what is newer than the live one may still go live
        ([1, 2, 3, 4, 5], 2, 2, []),  # rolled back: the ones turned down may be applied
        ([1], 1, 2, []),
    ],
)
def test_what_may_go(numbers: list[int], current: int, keep: int, gone: list[int]) -> None:
    assert surplus(numbers, numbers, current, LineageState(), keep) == tuple(gone)


@pytest.mark.parametrize(
    ("state", "current", "gone"),
    [
        (refused(2), 5, (1, 2)),  # one that is no use takes no room
        (refused(2, 3, 4), 5, (2, 3, 4)),
        (refused(3, 4, 5), 2, (3, 4)),  # the newest number stays, so that it is not given again
        (LineageState(withdrawn={4: Withdrawal(NOW, "superseded", revoked=True)}), 5, (1, 4)),
        (LineageState(withdrawn={4: Withdrawal(NOW, "superseded")}), 5, (1, 2)),
    ],
)
def test_what_can_never_go_live_goes_first(state: LineageState, current: int, gone: tuple[int, ...]) -> None:
    assert surplus([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], current, state, 3) == gone


def test_what_is_needed_stays() -> None:
    assert surplus([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 5, LineageState(), 2, frozenset({2})) == (1, 3)


def test_what_cannot_be_read_goes_only_when_it_is_older_than_all() -> None:
    assert surplus([1, 2, 3, 4, 5], [1, 2, 4, 5], 5, LineageState(), 3) == (1,)
    assert surplus([1, 2, 3, 4, 5], [2, 3, 4, 5], 5, LineageState(), 3) == (1, 2)


class Crowd(Stand):
    """A machine that keeps two generations of each certificate."""

    def config(self) -> Config:
        return msgspec.structs.replace(super().config(), state=State(keep_generations=2))

    def reissue(self, times: int) -> Report:
        """That many generations more, each proven."""
        for _ in range(times):
            types, names = self.tables["mail"]
            other = "webmail.example.org"
            names = tuple(n for n in names if n != other) if other in names else (*names, other)
            self.tables["mail"] = (types, names)
            report = self.renew()
            assert report.exit_code is ExitCode.OK, report.errors
        return report

    @property
    def kept(self) -> list[str]:
        """What stands in the lineage's folder beside `current`."""
        return [name for name in MemorySystem(self.machine).files.listdir(MAIL) if name != "current"]


@pytest.fixture
def crowd() -> Crowd:
    stand = Crowd()
    assert stand.apply().exit_code is ExitCode.OK
    stand.reissue(1)
    assert stand.kept == ["0001", "0002"]
    return stand


def test_the_oldest_goes_when_another_is_proven_and_it_is_told(crowd: Crowd) -> None:
    report = crowd.reissue(1)
    assert crowd.kept == ["0002", "0003"] and crowd.serves == 3
    assert report.done[-1] == "removed generation 0001 of 'mail': 2 are kept, and nothing serves it"
    line = [one for one in History(MemorySystem(crowd.machine), ROOT).lines() if one.event is Deed.PRUNED][-1]
    assert (line.lineage, line.generation) == ("mail", 1) and line.certificates
    assert crowd.state().proven.keys() == {2, 3}
    assert not crowd.renew().done


def test_nothing_goes_where_something_failed(crowd: Crowd) -> None:
    crowd.poisons(3)
    types, _ = crowd.tables["mail"]
    crowd.tables["mail"] = (types, ("mail.example.org", "other.example.org"))
    assert crowd.renew().exit_code is ExitCode.FAILED
    assert crowd.kept == ["0001", "0002", "0003"]


def test_what_a_configuration_leads_to_stays(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd.machine.put_link("/etc/ssl/mail.pem", f"{MAIL}/0001/ecdsa-p256/fullchain.pem")
    named = ConfiguredCertificate("file", f"{CONF}:1", "/etc/ssl/mail.pem", "", shadowed=True)
    monkeypatch.setattr(Adapter, "configured", (named,))
    crowd.reissue(2)
    assert crowd.kept == ["0001", "0003", "0004"]
    monkeypatch.setattr(Adapter, "configured", (replace(named, cert_file="", key_file=f"{MAIL}/0003/k.pem"),))
    crowd.reissue(2)
    assert crowd.kept == ["0003", "0005", "0006"]


def test_what_an_endpoint_serves_stays(crowd: Crowd) -> None:
    types, _ = crowd.tables["mail"]
    crowd.tables["mail"] = (types, ("mail.example.org", "other.example.org"))
    working = crowd.reconciler()
    working.closing._pruning._keep = 3
    assert working.run(insist=False).exit_code is ExitCode.OK
    old, pruning = working.store.fingerprints("mail", "0001"), crowd.reconciler().closing._pruning
    lineages = working.look().lineages
    assert pruning.carry_out(lineages, old, lambda: ()) == () and "0001" in crowd.kept
    assert len(pruning.carry_out(lineages, frozenset(), lambda: ())) == 1 and "0001" not in crowd.kept


def test_one_that_is_to_be_revoked_stays_until_it_is(crowd: Crowd) -> None:
    working = crowd.reconciler()
    first = working.store.load("mail", 1)
    with working.lock():
        working.closing.revoking.want([first], 4, forced=False)
    crowd.ca.outages.extend([("/revoke", NetworkFault("no route"))] * 3)
    types, _ = crowd.tables["mail"]
    crowd.tables["mail"] = (types, ("mail.example.org", "other.example.org"))
    assert crowd.renew().exit_code is ExitCode.FAILED and "0001" in crowd.kept
    assert crowd.renew().exit_code is ExitCode.OK
    assert crowd.kept == ["0002", "0003"]


def test_a_lineage_that_nothing_serves_is_pruned_too(crowd: Crowd) -> None:
    kinds = [KeyType.ECDSA_P256, KeyType.ECDSA_P384] * 2
    for kind in kinds:
        crowd.tables["other"] = ((kind,), ("other.example.org",))
        assert crowd.renew().exit_code is ExitCode.OK
    assert crowd.reconciler().store.numbers("other") == (3, 4)


@pytest.fixture(scope="module")
def removal() -> Iterator[int]:
    """How many effects the run has in which the first generation goes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
        stand = Crowd()
        stand.apply()
        stand.reissue(1)
        before = len(stand.machine.effects)
        stand.reissue(1)
        first = next(
            i
            for i, e in enumerate(stand.machine.effects[before:])
            if e.kind == "rename" and "0001" in e.subject
        )
        yield len(stand.machine.effects) - before - first


def test_killed_in_between_it_is_there_whole_or_gone(removal: int) -> None:
    for back in range(removal):
        stand = Crowd()
        stand.apply()
        stand.reissue(1)
        stand.machine.goes_wrong(Killed(), at=back, when=_Removal())
        types, _ = stand.tables["mail"]
        stand.tables["mail"] = (types, ("mail.example.org", "other.example.org"))
        with stand.machine.death():
            stand.renew()
        stand.machine.all_well()
        store = stand.reconciler().store
        assert all(store.find("mail", f"{number:04d}") for number in store.numbers("mail"))
        assert stand.renew().exit_code is ExitCode.OK and stand.serves == 3
        stand.reissue(1)
        assert stand.kept == ["0003", "0004"], "and nothing hidden is left"


class _Removal:
    """Whether the removal of the first generation has begun."""

    begun = False

    def __call__(self, effect: Effect) -> bool:
        self.begun = self.begun or (effect.kind == "rename" and "0001" in effect.subject)
        return self.begun
