"""``ssmbench doctor``: check whether this installation works."""

from __future__ import annotations

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.verb import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Check this installation: packages, devices, scans, plugins, data."""
    from ssmbench.doctor import check_installation

    checks = check_installation()
    ok = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [vars(check) for check in checks]})
    else:
        rows = [(check.name, "yes" if check.ok else "NO", check.found) for check in checks]
        table(("check", "ok", "found"), rows)
    if not ok:
        raise typer.Exit(1)
