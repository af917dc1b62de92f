"""Opens screens of an app for runs: names looked up and checked, signed in, behind the run's gate.

    with open_screens(policy, environment=os.environ) as open_driver:
        run_on_screen(checked, document, open_driver, ...)

Before the browser starts, the hosts of the policy are looked up. One whose name leads to a private
address is refused unless the policy says that it may, and the browser's way out connects to the
address that was checked: no later answer of a name server leads it elsewhere.

Signing in, where the policy says how, happens on each screen before the run's gate takes over, also
in a dry run. Until then nothing may be sent but reading, and the form to its one address.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

from adwright.agent.document.urls import origin_of
from adwright.agent.drivers.browser import BrowserSettings, open_browser
from adwright.agent.drivers.chromium import DriverSettings
from adwright.agent.drivers.fetched import FetchingDriver
from adwright.agent.drivers.protocol import (
    DriverError,
    GateDecision,
    PendingRequest,
    RequestGate,
)
from adwright.agent.explore.explorer import sign_in
from adwright.agent.explore.reading_gate import ReadingGate
from adwright.agent.operate.policy_file import AgentPolicy, SignInEntry
from adwright.agent.policy.addresses import address_of
from adwright.agent.policy.origins import OriginRules, check_addresses
from adwright.agent.policy.refusals import PolicyRefusalError
from adwright.core.clock import Clock
from adwright.core.errors import DataError, ResourceError

__all__ = [
    "LookUp",
    "OpenFetching",
    "SignInGate",
    "checked_hosts",
    "look_up",
    "open_screens",
    "signed_in",
]

#: Opens a screen that can also read pages without showing them.
OpenFetching: TypeAlias = Callable[[RequestGate], FetchingDriver]
#: The addresses to which a name leads. Raises OSError where it leads nowhere.
LookUp: TypeAlias = Callable[[str], Sequence[str]]


def look_up(host: str) -> tuple[str, ...]:
    """What this machine's resolver says, IPv4 first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ordered = sorted(found, key=lambda one: one[0] != socket.AF_INET)
    return tuple(dict.fromkeys(str(one[4][0]) for one in ordered))


def checked_hosts(rules: OriginRules, find: LookUp = look_up) -> dict[str, str]:
    """The hosts of the rules, each with the one address that may be connected to; a host that is an
    address has itself.

    Raises PolicyRefusalError where a name leads to a private address, ResourceError where it leads
    nowhere.
    """
    hosts: dict[str, str] = {}
    for one in (*rules.origins, *rules.resources):
        host = urlsplit(one).hostname or ""
        if host in hosts:
            continue
        if address_of(host) is not None:
            hosts[host] = host
            continue
        try:
            addresses = list(find(host))
        except OSError as error:
            raise ResourceError(
                f"the host {host} is not found: {error}",
                where=one,
                hint="check the name, and that the network is there",
            ) from error
        decision = check_addresses(host, addresses, rules)
        if not decision.allowed:
            raise PolicyRefusalError(
                decision.code,
                decision.reason,
                hint=f"where that is meant, add {host!r} to reach.private of the policy",
            )
        hosts[host] = addresses[0]
    return hosts


@contextmanager
def open_screens(
    policy: AgentPolicy,
    *,
    environment: Mapping[str, str],
    find: LookUp = look_up,
    settings: DriverSettings | None = None,
    clock: Clock | None = None,
) -> Iterator[OpenFetching]:
    """Chromium until the block ends, and what opens a signed-in screen of it for each run.

    Raises what `checked_hosts` and `open_browser` raise; ConfigError where a variable of the
    sign-in is not set.
    """
    hosts = checked_hosts(policy.reach, find)
    if policy.sign_in is not None:
        policy.sign_in.values(environment)
    plain = tuple(host for host, address in hosts.items() if host == address)
    pinned = {host: address for host, address in hosts.items() if host != address}
    browser_settings = BrowserSettings(hosts=plain, addresses=pinned)
    with open_browser(browser_settings, clock=clock) as browser, ExitStack() as stack:

        def opened(gate: RequestGate) -> FetchingDriver:
            def driver(other: RequestGate) -> FetchingDriver:
                return stack.enter_context(browser.driver(other, settings))

            return signed_in(driver, gate, policy, environment)

        yield opened


class SignInGate:
    """Decides for a sign-in until `seal` is called, and from then on lets the run's gate decide."""

    def __init__(self, entry: SignInEntry, rules: OriginRules, gate: RequestGate) -> None:
        origins = tuple(origin_of(one) for one in rules.origins)
        self._reading = ReadingGate(origins, sign_in=(entry.post or entry.url,))
        self._gate = gate
        self._sealed = False

    def seal(self) -> None:
        """Somebody is signed in."""
        self._sealed = True

    def __call__(self, request: PendingRequest) -> GateDecision:
        return self._gate(request) if self._sealed else self._reading(request)


def signed_in(
    open_driver: OpenFetching,
    gate: RequestGate,
    policy: AgentPolicy,
    environment: Mapping[str, str],
) -> FetchingDriver:
    """A screen behind `gate`, signed in where the policy says how.

    Raises DriverError where the app does not let one in; ConfigError for a variable that is not
    set.
    """
    entry = policy.sign_in
    if entry is None:
        return open_driver(gate)
    values = entry.values(environment)
    own = SignInGate(entry, policy.reach, gate)
    driver = open_driver(own)
    try:
        sign_in(driver, entry.url, values)
        screen = driver.observe()
        path = urlsplit(screen.url).path
        if path == urlsplit(entry.url).path and any(one.secret for one in screen.nodes):
            raise DriverError(
                "the app did not let us in",
                where=entry.url,
                hint=f"check what stands in {', '.join(entry.fields.values())}",
            )
        driver.requests()  # none of the run's
    except DataError as error:
        driver.close()
        raise DriverError(f"signing in: {error.what}", where=entry.url, hint=error.hint) from error
    except BaseException:
        driver.close()
        raise
    own.seal()
    return driver
