"""Rollback's memory: which generation a person chose, and what may take its place, and when. Pure.

`mailseal rollback` says that an earlier generation is to be served again. A
timer that looks an hour later must not simply deploy the newer one, nor buy
another of the kind that the person turned down. So the choice is kept (`Pin`):

* no generation that was there at that time takes the chosen one's place;
* one that is issued later does: at the chosen one's renewal time, or, where
  that has passed (it was renewed, which is why there is a newer one), when half
  of the time is over that it may still be served;
* sooner, when the wish changes (other names, key types, another CA), when the
  CA suggests so after the rollback (RFC 9773), or when its files are damaged;
* `mailseal apply` ends it: then the newest is deployed again.

Over everything stands the expiry guard: when 1/20 of the chosen one's life is
left, whatever is newer and usable is deployed.

What a person wants revoked is followed by something newer, never by something
older (`LineageState.withdrawn`); only a rollback may choose that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mailseal.model import CertificateSpec, Generation
from mailseal.renewal import GUARD, lifetime, nearly_expired, renewal_time
from mailseal.stores.state import LineageState, Pin

WINDOW = 50  # of the lifetime


def pin(
    spec: CertificateSpec,
    chosen: Generation,
    newest: int,
    state: LineageState,
    issuer_url: str,
    now: datetime,
) -> Pin:
    """What is to be remembered when a person chooses a generation although `newest` is there."""
    due = renewal_time(chosen, state.renewal_instant(chosen.fingerprints())).at
    until = due if due > now else now + (chosen.not_after - lifetime(chosen) / GUARD - now) / 2
    return Pin(chosen.number, newest, now, until.replace(microsecond=0), wish(spec, issuer_url))


def wish(spec: CertificateSpec, issuer_url: str) -> str:
    """What is asked for, in a line: when it changes, the choice was made for something else."""
    names = ",".join(identifier.value for identifier in spec.sorted_identifiers)
    return f"{issuer_url} {'+'.join(spec.key_types)} {names}"


def eligible(
    found: Sequence[Generation],
    held_back: frozenset[int],
    state: LineageState,
    now: datetime,
    *,
    insist: bool = False,
) -> list[Generation]:
    """Those of the generations (the oldest first) that may be live; the last is the one to be.

    `held_back` are those that something is held against; `insist`: a person asks for the newest.
    """
    chosen = None if insist else _chosen(found, held_back, state, now)
    if chosen is None or state.pin is None:
        floor = max(state.withdrawn, default=0)
        return [g for g in found if g.number not in held_back and g.number > floor]
    beyond = state.pin.beyond
    return [chosen, *(g for g in found if g.number > beyond and g.number not in held_back)]


def pinned(target: Generation | None, state: LineageState) -> bool:
    """Whether the generation that should be live is the one that a person chose."""
    return target is not None and state.pin is not None and target.number == state.pin.number


def waits(
    spec: CertificateSpec, target: Generation | None, state: LineageState, issuer: str, now: datetime
) -> str:
    """Why nothing is ordered now in a chosen generation's place, in a sentence; empty where nothing keeps it."""
    if target is None or state.pin is None or not pinned(target, state):
        return ""
    rejection, suggested = state.rejection(target.number), _suggested(target, state, state.pin, now)
    unfit = target.number in state.withdrawn or (rejection is not None and rejection.unusable)
    if unfit or suggested or now >= state.pin.until or state.pin.wish != wish(spec, issuer):
        return ""
    return (
        f"{spec.name}: generation {target.label} is held by mailseal rollback of {state.pin.at:%F %H:%M} UTC; "
        f"another is ordered {state.pin.until:%F %H:%M} UTC, or the newest is deployed by mailseal apply"
    )


def _suggested(target: Generation, state: LineageState, pin: Pin, now: datetime) -> bool:
    """Whether the CA wants the chosen one renewed now, and for a reason that came up after the choice.

    Its usual window (2% of the lifetime wide, around the usual time) says nothing new of one that was due by then.
    """
    instant, usual = state.renewal_instant(target.fingerprints()), renewal_time(target).at
    if instant is None or not pin.at < instant <= now:
        return False
    return usual > pin.at or instant > usual + lifetime(target) / WINDOW


def _chosen(
    found: Sequence[Generation], held_back: frozenset[int], state: LineageState, now: datetime
) -> Generation | None:
    """The generation that a person chose, as long as nothing speaks against it that he did not know."""
    pin = state.pin
    chosen = next((g for g in found if pin is not None and g.number == pin.number), None)
    if pin is None or chosen is None or chosen.number in state.withdrawn or nearly_expired(chosen, now):
        return None
    rejection = state.rejection(chosen.number)
    if rejection is not None and chosen.number in held_back and (rejection.unusable or rejection.at > pin.at):
        return None
    return chosen
