"""Pages of MiniWoB with a fixed seed and clock, and the reward of each episode.

    with wob_pages() as wob:
        driver.open(wob.address("click-test", seed=3))
        ...
        wob.episodes[-1].reward          # 1.0 where the goal was met

The pages come unchanged out of the package `miniwob`; what is added to each when it is served sets
the seed and the day, leaves the curtain out that a person taps first, and tells this server
the goal when an episode begins and the reward when it ends. An agent's gate has to let exactly
`wob.reports` through. Of the tasks only the development set is served: every second one in
alphabetical order, from the first on. The others are for evaluation.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.agent.apps.packages import packages

#: The development set.
WOB_TASKS: tuple[str, ...] = (
    *("ascending-numbers", "book-flight", "buy-ticket", "choose-date-easy", "choose-date-nodelay"),
    *("circle-center", "click-button-sequence", "click-checkboxes-large"),
    *("click-checkboxes-transfer", "click-collapsible-2", "click-collapsible-nodelay"),
    *("click-dialog", "click-link", "click-menu-2", "click-pie", "click-scroll-list"),
    *("click-shape", "click-tab-2", "click-tab-2-hard", "click-test", "click-test-transfer"),
    *("copy-paste", "count-shape", "daily-calendar", "drag-circle", "drag-items", "drag-shapes"),
    *("drag-single-shape", "draw-circle", "email-inbox", "email-inbox-forward"),
    *("email-inbox-forward-nl-turk", "email-inbox-nl-turk", "email-inbox-reply", "enter-date"),
    *("enter-text", "enter-text-dynamic", "find-greatest", "find-word", "focus-text-2"),
    *("form-sequence-2", "generate-number", "guess-number", "highlight-text-2", "identify-shape"),
    *("login-user-popup", "multi-orderings", "number-checkboxes", "order-food", "read-table"),
    *("resize-textarea", "scroll-text", "search-engine", "simple-algebra", "social-media"),
    *("social-media-some", "terminal", "text-transform", "unicode-test"),
    *("use-autocomplete-nodelay", "use-colorwheel-2", "use-slider-2", "visual-addition"),
)
_ADDED = """<script>(() => {
  const fixed = Date.UTC(2026, 0, 15, 12), Real = Date;
  const now = () => fixed + Math.floor(performance.now());
  window.Date = class extends Real {
    constructor(...given) { if (given.length) super(...given); else super(now()); }
    static now() { return now(); }
  };
  const tell = what => fetch('/wob-report', {method: 'POST', body: JSON.stringify(what)});
  const begin = core.startEpisode, end = core.endEpisode;
  core.EPISODE_MAX_TIME = 1e8;
  Math.seedrandom('SEED');
  core.startEpisode = () => {
    begin();
    core.startEpisodeReal();
    tell({goal: core.getUtterance()});
  };
  core.endEpisode = (reward, proportional, reason) => {
    if (!WOB_DONE_GLOBAL) tell({reward: reward, reason: reason || ''});
    return end(reward, proportional, reason);
  };
})()</script></head>"""


@dataclass
class WobEpisode:
    """One page that was loaded: what was to do, and what came of it; None while it lasts."""

    task: str
    seed: str
    goal: str = ""
    reward: float | None = None
    reason: str = ""


@dataclass
class WobPages:
    """The server. episodes: in the order in which pages were loaded. reports: where pages tell.
    seed: of pages whose address names none."""

    url: str = ""
    seed: int = 0
    episodes: list[WobEpisode] = field(default_factory=list)

    @property
    def reports(self) -> str:
        """The one URL to which pages send something."""
        return f"{self.url}/wob-report"

    def address(self, task: str, *, seed: int) -> str:
        """Where an episode of `task` begins. Raises ValueError for one that is not served."""
        if task not in WOB_TASKS:
            raise ValueError(f"{task} is not of the development set")
        return f"{self.url}/miniwob/{task}.html?seed={seed}"

    def heard(self, told: dict[str, object]) -> None:
        """What the page that was loaded last tells; where it begins anew, the first counts."""
        for key, value in told.items():
            if getattr(self.episodes[-1], key) in ("", None):
                setattr(self.episodes[-1], key, value)


@contextmanager
def wob_pages() -> Iterator[WobPages]:
    """The pages on loopback, until the block ends."""
    root = packages("miniwob") / "miniwob" / "html"
    pages = WobPages()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = Path(parts.path)
            if path.suffix != ".html":
                return super().do_GET()
            if path.parent != Path("/miniwob") or path.stem not in WOB_TASKS:
                return self.send_error(404)
            seed = parse_qs(parts.query).get("seed", [str(pages.seed)])[0]
            pages.episodes.append(WobEpisode(path.stem, seed))
            text = (root / "miniwob" / path.name).read_text("utf-8")
            added = _ADDED.replace("SEED", str(int(seed)))
            self._send(text.replace("</head>", added, 1).encode())

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            pages.heard(json.loads(self.rfile.read(size)))
            self._send(b"{}")

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    pages.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield pages
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
