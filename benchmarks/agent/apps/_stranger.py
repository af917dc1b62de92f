"""An application of somebody else, made and served in a process of its own.

    python _stranger.py make APP FOLDER
    python _stranger.py serve APP FOLDER DESCRIPTOR

Each is what its manual says to begin with: its own command makes the state, files of
`stranger_seeds` go into it where there are such, and its own WSGI application is served, or its own
server on the same socket.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

USER, PASSWORD = "admin", "default"
_SEEDS = Path(__file__).with_name("stranger_seeds")
_WIKI = """REPOSITORY = "{folder}/pages"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/state.sqlite3"
SECRET_KEY = "nobody guesses this key"
AUTO_APPROVAL = True
EMAIL_NEEDS_CONFIRMATION = False
"""


def make(app: str, folder: Path) -> None:
    """Make its first state in an empty folder."""
    match app:
        case "mezzanine":
            _run("mezzanine.bin.mezzanine_project", "mezzanine-project", "shop", cwd=folder)
            _django(folder, "mezzanine", "createdb", "--noinput")
        case "wagtail":
            _run("wagtail.bin.wagtail", "wagtail", "start", "shop", ".", cwd=folder)
            _django(folder, "wagtail", "migrate", "--verbosity=0")
            os.environ["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
            asked = ("--noinput", f"--username={USER}", "--email=admin@example.com")
            _django(folder, "wagtail", "createsuperuser", *asked)
        case "otterwiki":
            (folder / "pages").mkdir()
            subprocess.run(["git", "init", "-q", str(folder / "pages")], check=True)
            wiki = _application(app, folder)
            wiki.config["WTF_CSRF_ENABLED"] = False  # there is no page to take a token from
            client = wiki.test_client()
            fields = {"name": "Ann", "email": "ann@example.com"}
            client.post(
                "/-/register",
                data={**fields, "password1": PASSWORD * 2, "password2": PASSWORD * 2},
            )
            client.post("/-/login", data={"email": fields["email"], "password": PASSWORD * 2})
            for page, text in _PAGES.items():
                client.post(f"/{page}/save", data={"content": text, "commit": "first"})
        case "radicale":
            (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        case "tiddlywiki":
            subprocess.run(["node", "-e", _NODE, str(folder), "--init", "server"], check=True)
    if (_SEEDS / app).is_dir():
        shutil.copytree(_SEEDS / app, folder, dirs_exist_ok=True)


_PAGES = {
    "Home": "# Home\n\nSee [[Opening hours]] and [[Delivery]].\n",
    "Opening hours": "# Opening hours\n\nMonday to Friday, 9 to 17.\n",
    "Delivery": "# Delivery\n\nParcels leave on Tuesday.\n",
    "Old prices": "# Old prices\n\nTea 2.50\n",
}


_NODE = """const wiki = require("tiddlywiki").TiddlyWiki();
wiki.boot.argv = process.argv.slice(1);
wiki.boot.boot();
"""
#: Whatever address a server wants, it gets the socket that listens already.
_NODE_ON = """const sockets = require("net").Server.prototype, listen = sockets.listen;
sockets.listen = function () { return listen.call(this, { fd: %d }); };
"""


def _run(module: str, *command: str, cwd: Path) -> None:
    code = f"import runpy, sys; sys.argv = {list(command)!r}; "
    code += f"runpy.run_module({module!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], cwd=cwd, check=True)


def _django(folder: Path, app: str, *command: str) -> None:
    where = folder / "shop" if app == "mezzanine" else folder
    subprocess.run([sys.executable, "manage.py", *command], cwd=where, check=True)


def _application(app: str, folder: Path) -> Any:
    if app == "otterwiki":
        settings = folder / "settings.cfg"
        settings.write_text(_WIKI.format(folder=folder))
        os.environ["OTTERWIKI_SETTINGS"] = str(settings)
        return import_module("otterwiki.server").app
    if app == "fava":
        ledger = str(folder / "ledger.beancount")
        return import_module("fava.application").create_app([ledger])
    if app == "radicale":
        settings = import_module("radicale.config").load()
        users = {"htpasswd_filename": str(folder / "users"), "htpasswd_encryption": "plain"}
        own = {
            "auth": {"type": "htpasswd", **users},
            "storage": {"filesystem_folder": str(folder / "collections")},
        }
        settings.update(own, "benchmark")
        return import_module("radicale.app").Application(settings)
    where = folder / "shop" if app == "mezzanine" else folder
    os.chdir(where)
    sys.path.insert(0, str(where))
    os.environ["DJANGO_SETTINGS_MODULE"] = (
        "shop.settings" if app == "mezzanine" else "shop.settings.dev"
    )
    files = import_module("django.contrib.staticfiles.handlers").StaticFilesHandler
    return files(import_module("django.core.wsgi").get_wsgi_application())


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve(app: str, folder: Path, descriptor: int) -> None:
    """Serve it on a socket that listens already."""
    if app == "tiddlywiki":
        code = _NODE_ON % descriptor + _NODE
        os.execvp("node", ["node", "-e", code, str(folder), "--listen", "host=127.0.0.1"])
    opened = socket.socket(fileno=descriptor)
    server = _Server(opened.getsockname(), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = opened
    server.server_name, server.server_port = opened.getsockname()
    server.setup_environ()
    server.set_app(_application(app, folder))
    server.serve_forever()


if __name__ == "__main__":
    what, name, place = sys.argv[1:4]
    if what == "make":
        make(name, Path(place))
    else:
        serve(name, Path(place), int(sys.argv[4]))
