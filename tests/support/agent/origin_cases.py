"""Where requests try to go, and why they may not: the table of tests and of the benchmark."""

from __future__ import annotations

from typing import NamedTuple

from adwright.agent.drivers.protocol import PendingRequest, RequestKind
from adwright.agent.policy.origins import OriginRules

RULES = OriginRules(
    origins=("https://shop.example", "http://127.0.0.1:8000"),
    resources=("https://cdn.example",),
    embedding=("/share",),
)


class OriginCase(NamedTuple):
    """A URL, what asks for it, and the code of the answer."""

    url: str
    code: str = "allowed"
    kind: RequestKind = "page"
    method: str = "GET"

    def request(self) -> PendingRequest:
        """As a request that waits."""
        return PendingRequest(self.method, self.url, self.kind)


SHOP = "https://shop.example"
CASES = (
    # what is listed
    OriginCase(f"{SHOP}/"),
    OriginCase(f"{SHOP}:443/offers/?q=a%20b#top"),
    OriginCase("HTTPS://SHOP.example/"),
    OriginCase(f"{SHOP}/a//b"),
    OriginCase(f"{SHOP}/offers/", kind="fetch", method="POST"),
    OriginCase("http://127.0.0.1:8000/"),
    OriginCase("https://cdn.example/a.png", kind="resource"),
    OriginCase(f"{SHOP}/login?next=/offers/"),
    OriginCase(f"{SHOP}/login?next=https://shop.example/offers/"),
    OriginCase(f"{SHOP}/share?url=https://other.test/"),
    OriginCase(f"{SHOP}/search?q=ratio+1:2+and+http"),
    # other origins
    OriginCase("https://evil.test/", "origin"),
    OriginCase("http://shop.example/", "origin"),
    OriginCase(f"{SHOP}:8443/", "origin"),
    OriginCase("https://www.shop.example/", "origin"),
    OriginCase("https://shop.example.evil.test/", "origin"),
    OriginCase("https://notshop.example/", "origin"),
    OriginCase("https://shop-example/", "origin"),
    OriginCase("https://evil.test/?https://shop.example/", "origin"),
    OriginCase("https://evil.test/", "origin", "redirect"),
    OriginCase("https://evil.test/", "origin", "frame"),
    OriginCase("https://evil.test/", "origin", "fetch"),
    OriginCase("https://evil.test/a.png", "origin", "resource"),
    OriginCase("https://cdn.example/", "origin"),
    OriginCase("https://cdn.example/a.js", "origin", "script"),
    OriginCase("https://cdn.example/a", "origin", "resource", "POST"),
    # other schemes
    OriginCase("data:text/html,<script>1</script>", "scheme"),
    OriginCase("data:image/png;base64,AA", "scheme", "resource"),
    OriginCase("blob:https://shop.example/1", "scheme"),
    OriginCase("javascript:alert(1)", "scheme"),
    OriginCase("JaVaScRiPt:alert(1)", "scheme"),
    OriginCase("file:///etc/passwd", "scheme"),
    OriginCase("about:blank", "scheme"),
    OriginCase("chrome://settings/", "scheme"),
    OriginCase("view-source:https://shop.example/", "scheme"),
    OriginCase("filesystem:https://shop.example/a", "scheme"),
    OriginCase("ftp://shop.example/", "scheme"),
    OriginCase("intent://shop.example/#Intent;end", "scheme"),
    OriginCase("//shop.example/", "scheme"),
    OriginCase("/offers/", "scheme"),
    OriginCase("", "scheme"),
    OriginCase("wss://shop.example/live", "scheme"),
    OriginCase("wss://shop.example/live", "socket", "socket"),
    OriginCase("ws://evil.test/", "socket", "socket"),
    OriginCase("https://shop.example/live", "scheme", "socket"),
    # odd notations
    OriginCase("https://shop.example@evil.test/", "userinfo"),
    OriginCase("https://user:word@shop.example/", "userinfo"),
    OriginCase("https://shop.example\\@evil.test/", "malformed"),
    OriginCase("https:\\\\evil.test/", "malformed"),
    OriginCase("https://shop.example/a b", "malformed"),
    OriginCase(" https://shop.example/", "malformed"),
    OriginCase("java\nscript:alert(1)", "malformed"),
    OriginCase("https://shop.example\t.evil.test/", "malformed"),
    OriginCase("https://shop.ex\u0430mple/", "malformed"),
    OriginCase("https://shop\u3002example/", "malformed"),
    OriginCase("https:shop.example/", "malformed"),
    OriginCase("https:/shop.example/", "malformed"),
    OriginCase("https://[::1/", "malformed"),
    OriginCase("https://shop.example:99999/", "malformed"),
    OriginCase("https://shop.example:0/", "malformed"),
    OriginCase("https://shop.example./", "host"),
    OriginCase("https://shop.example:/", "host"),
    OriginCase("https:///evil.test/", "host"),
    OriginCase("https://shop%2eexample/", "host"),
    OriginCase("https://2130706433/", "host"),
    OriginCase("https://0x7f.0.0.1/", "host"),
    OriginCase("http://0177.0.0.1:8000/", "host"),
    OriginCase("http://127.1:8000/", "host"),
    # inside the network
    OriginCase("http://127.0.0.1:8001/", "private"),
    OriginCase("http://localhost:8000/", "private"),
    OriginCase("http://10.0.0.1/", "private"),
    OriginCase("http://192.168.1.1/admin", "private", "fetch"),
    OriginCase("http://169.254.169.254/latest/meta-data/", "private"),
    OriginCase("http://[::1]:8000/", "private"),
    OriginCase("http://[::ffff:127.0.0.1]:8000/", "private"),
    OriginCase("http://metadata.google.internal/", "private", "redirect"),
    # what leaves the page
    OriginCase(f"{SHOP}/", "popup", "popup"),
    OriginCase(f"{SHOP}/file.zip", "download", "download"),
    OriginCase(f"{SHOP}/sw.js", "worker", "worker"),
    OriginCase(f"{SHOP}/track", "beacon", "beacon", "POST"),
    # through something that is listed
    OriginCase(f"{SHOP}/translate?u=https://evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/translate?u=https%3A%2F%2Fevil.test%2F", "embedded_url"),
    OriginCase(f"{SHOP}/translate?u=https%253A%252F%252Fevil.test", "embedded_url"),
    OriginCase(f"{SHOP}/login?next=//evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/login?next=/%5Cevil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/login?next=https:evil.test", "embedded_url"),
    OriginCase(f"{SHOP}/proxy/http://evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/proxy/http:/evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}//evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=javascript:alert(1)", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=data:text/html,x", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=file:///etc/passwd", "embedded_url"),
    OriginCase(f"{SHOP}/#https://evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=http://localhost/", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=https://shop.example.evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/go?to=https://shop.example@evil.test/", "embedded_url"),
    OriginCase(f"{SHOP}/%{'25' * 9}2f", "embedded_url"),
)
