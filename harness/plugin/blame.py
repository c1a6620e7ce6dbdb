"""An error of a test whose site has ended is the site's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import SiteDied

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@contextmanager
def site_blamed(item: pytest.Item) -> Iterator[None]:
    """Raise SiteDied for an error of a test whose site, or a helper in it, has ended.

    What the guest did without its name server, say, is no failure of the guest.
    """
    try:
        yield
    except SiteDied:
        raise
    except Exception as error:
        from harness.site import Site  # noqa: PLC0415 - loaded by what made one

        site = getattr(item, "funcargs", {}).get("site")
        if isinstance(site, Site):
            try:
                site.check()
            except SiteDied as died:
                raise died from error
        raise
