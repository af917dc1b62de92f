"""Content credentials: a signed statement, inside the picture's file, of what was done to it.

    signed = with_credentials(original, edited, statement, key)     # bytes of a file
    read_credentials(signed)                                        # Credentials: valid, ...

The statement is a C2PA manifest, made, signed and read by `c2pa-python`. It names the original as
its parent, lists the edits as actions (c2pa.color_adjustments, c2pa.cropped, c2pa.edited ...), says
the digital source type of each action, and binds all that to the bytes of the file: a pixel that is
changed afterwards is found. No time is asked of a server, so nothing is sent anywhere; no thumbnail
of the original is kept.

A statement can be cut out of a file, and then nothing is left to read: `read_credentials` says
"none". Whether such a picture is one of ours, the log of edits knows by its pixels.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError
from adwright.core.version import __version__
from adwright.creative.editor.edits.plan import AnyEdit, EditPlan
from adwright.creative.editor.provenance.signing_keys import SigningKey
from adwright.creative.editor.provenance.source_type import SOURCE_TYPES

__all__ = ["Credentials", "EditStatement", "read_credentials", "with_credentials"]

State = Literal["trusted", "valid", "invalid", "none"]
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
#: C2PA's own names of what the edits do.
_ACTIONS = {
    "exposure": "c2pa.color_adjustments",
    "contrast": "c2pa.color_adjustments",
    "saturation": "c2pa.color_adjustments",
    "temperature": "c2pa.color_adjustments",
    "crop": "c2pa.cropped",
    "background_blur": "c2pa.filtered",
    "text": "c2pa.drawing",
    "face_move": "c2pa.edited",
}
_LABEL = "org.adwright.edit"
_UNTRUSTED = "signingCredential.untrusted"
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}


@dataclass(frozen=True)
class EditStatement:
    """plan: what was done. title: of the picture. model: id of the model of faces. approver: who
    let it pass. log_head: the last seal of the log of edits, see `edit_log`."""

    plan: EditPlan
    title: str = "ad"
    model: str = ""
    approver: str = ""
    log_head: str = ""


@settings
class Credentials:
    """state: "trusted" (signed by somebody on the trust list), "valid" (whole, by somebody who is
    not), "invalid" (changed after it was signed), "none". actions: their C2PA names. source_types:
    of them, NewsCodes' terms. problems: codes of C2PA. details: what `org.adwright.edit` says."""

    state: State
    issuer: str = ""
    actions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing was changed since it was signed."""
        return self.state in ("trusted", "valid")


def with_credentials(
    original: bytes, edited: bytes, statement: EditStatement, key: SigningKey
) -> bytes:
    """The file `edited` with a signed statement that it was made of the file `original`.

    Both PNG, JPEG or WEBP. Statements that the original carries stay part of the new one. Raises
    ConfigError where the key cannot sign, FileUnreadableError where a file cannot be read.
    """
    c2pa = _library()
    kinds = [_type_of(data, name) for data, name in ((original, "original"), (edited, "edited"))]
    info = c2pa.C2paSignerInfo(
        alg=key.algorithm, sign_cert=key.chain, private_key=key.private, ta_url=None
    )
    out = io.BytesIO()
    try:
        context = c2pa.Context.from_dict(_SETTINGS)
        with c2pa.Builder(_manifest(statement, kinds[1]), context=context) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            parent = json.dumps({"title": "original", "relationship": "parentOf"})
            builder.add_ingredient(parent, kinds[0], io.BytesIO(original))
            with c2pa.Signer.from_info(info) as signer:
                builder.sign(signer, kinds[1], io.BytesIO(edited), out)
    except c2pa.C2paError as error:
        # Of what the library says nothing but the kind is passed on: it may quote the key.
        raise ConfigError(
            f"the statement cannot be signed ({type(error).__name__.lstrip('_')})",
            where="with_credentials",
            hint="check that certificate, key and algorithm belong together, and the files",
        ) from None
    return out.getvalue()


def read_credentials(data: bytes) -> Credentials:
    """What the statement in a file says, and whether it is whole. Raises FileUnreadableError for
    what is neither PNG, JPEG nor WEBP."""
    c2pa = _library()
    kind = _type_of(data, "picture")
    try:
        with c2pa.Reader(kind, io.BytesIO(data)) as reader:
            told, state = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials("none")
    except c2pa.C2paError as error:
        return Credentials("invalid", problems=(type(error).__name__.lstrip("_"),))
    active = told["manifests"].get(told.get("active_manifest", ""), {})
    actions: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for one in active.get("assertions", ()):
        if one["label"].startswith("c2pa.actions"):
            actions += one["data"].get("actions", ())
        elif one["label"] == _LABEL:
            details = one["data"]
    problems = tuple(one["code"] for one in told.get("validation_status", ()))
    sources = (one.get("digitalSourceType", "") for one in actions)
    return Credentials(
        _state(state, problems),
        active.get("signature_info", {}).get("issuer") or "",
        tuple(one["action"] for one in actions),
        tuple(one.removeprefix(SOURCE_TYPES) for one in sources if one),
        problems,
        details,
    )


def _state(said: str, problems: tuple[str, ...]) -> State:
    if said.lower() == "trusted":
        return "trusted"
    return "valid" if said.lower() == "valid" and set(problems) <= {_UNTRUSTED} else "invalid"


def _manifest(statement: EditStatement, kind: str) -> str:
    shown = [edit for edit in statement.plan.edits if not edit.is_neutral()]
    actions = [_action(edit) for edit in shown]
    details = {
        "plan": to_jsonable(statement.plan),
        "plan_digest": statement.plan.digest,
        "model": statement.model,
        "approver": statement.approver,
        "log_head": statement.log_head,
    }
    return json.dumps(
        {
            "claim_generator_info": [{"name": "adwright", "version": __version__}],
            "title": statement.title,
            "format": kind,
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": actions}},
                {"label": _LABEL, "data": details},
            ],
        }
    )


def _action(edit: AnyEdit) -> dict[str, Any]:
    made = edit.kind == "face_move"
    source = "compositeWithTrainedAlgorithmicMedia" if made else "algorithmicallyEnhanced"
    return {
        "action": _ACTIONS[edit.kind],
        "digitalSourceType": SOURCE_TYPES + source,
        "parameters": {"org.adwright.edit": to_jsonable(edit)},
    }


def _type_of(data: bytes, name: str) -> str:
    for mark, kind in _TYPES.items():
        if data.startswith(mark):
            return kind
    raise FileUnreadableError(
        "this is no picture that can be signed", file=name, hint="pass PNG, JPEG or WEBP"
    )


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtraError("signed statements about pictures", "creative") from error
    return c2pa
