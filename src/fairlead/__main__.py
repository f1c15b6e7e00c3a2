"""`python -m fairlead` and the `fairlead` script."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the import is late so that `import fairlead` stays free of it."""
    from fairlead.cli.main import run  # noqa: PLC0415 - the command line loads only when asked for

    run()


if __name__ == "__main__":
    main()
