"""Lists: bare JSON arrays with `?limit=` and `?after=`, a total and a link to the next page."""

from typing import Any
from urllib.parse import urlencode

from flask import request

from models.paging import Listing, Page


def page_headers(listing: Listing[Any], page: Page) -> dict[str, str]:
    """Return `X-Total-Count`, and `Link` while there is more; the link is relative to the same path."""
    headers = {"X-Total-Count": str(listing.total)}
    if listing.more:
        query = {**request.args.to_dict(), "limit": str(page.limit), "after": listing.items[-1].id}
        headers["Link"] = f'<{request.script_root}{request.path}?{urlencode(query)}>; rel="next"'
    return headers
