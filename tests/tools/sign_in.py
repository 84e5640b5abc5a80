"""Somebody signs in with Entra ID before a page, as a browser does."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

__all__ = ["keep_cookies", "sign_in"]


def sign_in(browser: httpx.Client, entra: httpx.Client, login: str, path: str = "/") -> httpx.Response:
    """Be led to Entra ID by a page, say who it is, and be led back; the answer to that.

    `browser` asks the site, whichever way it takes there, and `entra` the simulated directory.
    """
    led = browser.get(path)
    assert led.status_code in (302, 303), led.text
    keep_cookies(browser, led)
    asked = urlsplit(led.headers["location"])
    back = entra.post(f"{asked.path}?{asked.query}", data={"login": login}, headers={"Host": asked.netloc})
    assert back.status_code == 302, back.text
    where = urlsplit(back.headers["location"])
    assert (where.scheme, where.netloc) == ("https", browser.headers["Host"])
    done = browser.get(f"{where.path}?{where.query}")
    keep_cookies(browser, done)
    return done


def keep_cookies(browser: httpx.Client, answer: httpx.Response) -> None:
    """Keep what an answer sets, as a browser would that came over TLS; each is for this host and no script."""
    browser.cookies.clear()
    kept = dict(part.split("=", 1) for part in browser.headers.get("Cookie", "").split("; ") if part)
    for line in answer.headers.get_list("set-cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        assert re.search(r"; ?Secure", line, re.IGNORECASE), line
        assert re.search(r"; ?HttpOnly", line, re.IGNORECASE), line
        assert "domain=" not in line.lower(), line
        kept[name] = value
    if kept:
        browser.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in kept.items())
