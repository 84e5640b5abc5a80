# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Against a real TLS server on loopback, whose name no DNS knows."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.https import Client

from tests.lab.control.pki import Authority

HOST = "openmrs.centre.example"


class Echo(http.server.BaseHTTPRequestHandler):
    """Says what was asked; redirects one path."""

    def do_GET(self):
        """Answer any request."""
        length = int(self.headers.get("Content-Length") or 0)
        asked = {
            "path": self.path,
            "host": self.headers["Host"],
            "login": self.headers.get("Authorization"),
            "sent": self.rfile.read(length).decode(),
        }
        self.send_response(301 if self.path == "/moved" else 200)
        self.send_header("X-Method", self.command)
        self.end_headers()
        self.wfile.write(json.dumps(asked).encode())

    do_POST = do_GET

    def log_message(self, *_arguments):
        """Stay quiet."""


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki", "unit test")


@pytest.fixture
def server(authority):
    pair = authority.issue("server", common_name=HOST, hosts=[HOST])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture
def client(authority, server):
    return Client(ca_path=str(authority.pair.certificate), addresses={"https": server}, timeout=5)


def test_a_name_is_asked_at_another_address(client):
    answer = client.ask(f"https://{HOST}/a?b=c")
    assert (answer.status, answer.headers["x-method"]) == (200, "GET")
    assert json.loads(answer.body) == {"path": "/a?b=c", "host": HOST, "login": None, "sent": ""}


def test_a_body_and_a_login_are_sent(client):
    answer = client.ask(f"https://{HOST}/", method="POST", body={"a": 1}, login=("admin", "s3cret"))
    asked = json.loads(answer.body)
    assert answer.headers["x-method"] == "POST"
    assert json.loads(asked["sent"]) == {"a": 1}
    assert base64.b64decode(asked["login"].removeprefix("Basic ")) == b"admin:s3cret"


def test_a_redirect_is_not_followed(client):
    assert client.ask(f"https://{HOST}/moved").status == 301


def test_the_certificate_is_returned_when_it_verifies(client):
    assert ("DNS", HOST) in client.certificate(f"https://{HOST}/")["subjectAltName"]


def test_another_name_is_not_trusted(client):
    assert "problem" in client.certificate("https://other.example/")
    assert client.ask("https://other.example/").status == 0


def test_another_authority_is_not_trusted(server, tmp_path):
    stranger = Client(
        ca_path=str(Authority(tmp_path / "other", "stranger").pair.certificate), addresses={"https": server}, timeout=5
    )
    assert "problem" in stranger.certificate(f"https://{HOST}/")
    assert stranger.ask(f"https://{HOST}/").status == 0


def test_nobody_there_is_told():
    answer = Client(addresses={"http": "127.0.0.1:9"}, timeout=2).ask(f"http://{HOST}/")
    assert answer.status == 0
    assert "127.0.0.1:9" in answer.problem
