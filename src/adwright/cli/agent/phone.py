"""adwright agent check-phone."""

from __future__ import annotations

from typing import Annotated

import typer

from adwright.core.config import Ge, Le

#: Exit code where the phone cannot be driven.
_FAILED = 1


def phone(
    serial: str,
    *,
    adb: str = "adb",
    port: Annotated[int, Ge(1), Le(65535)] = 5037,
) -> None:
    """Look whether a phone can be driven, without opening an app or touching anything.

    adwright drives no phone yet; this tells beforehand whether yours would answer all that it
    takes. Exit code 1 where something does not work.

        adwright agent check-phone emulator-5554

    Options:
        serial: Of the phone, as `adb devices` lists it.
        adb: The program of ADB's client.
        port: Port of ADB's server.
    """
    from adwright.agent.drivers.phone_check import AdbSettings, check_phone

    report = check_phone(AdbSettings(serial, program=adb, port=port))
    typer.echo(report.text())
    if not report.works:
        raise typer.Exit(_FAILED)
