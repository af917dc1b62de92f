"""The table of authoring: limits of platforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

BASIS = {
    "platform": "{read}, by the platform",
    "guides": "{read}, by guides",
    "unverified": "not verified",
}


def limits() -> Iterator[str]:
    """What each field takes, and how far that was verified."""
    from adwright.authoring.checks.limits import all_limits

    yield "| field | at most | shown | an ad has | verified | page that decides |"
    yield "|---|---|---|---|---|---|"
    for one in all_limits():
        texts = f"{one.fewest_texts} to {one.most_texts}" if one.most_texts else ""
        page = f"[{one.source}]({one.url})" if one.url else one.source
        verified = BASIS[one.basis].format(read=one.read)
        most = f"{one.most:,}{' in width' if one.unit == 'width' else ''}"
        yield f"| `{one.name}` | {most} | {one.visible or ''} | {texts} | {verified} | {page} |"


AUTHORING: Mapping[str, Callable[[], Iterator[str]]] = {
    "author-limits": limits,
}
