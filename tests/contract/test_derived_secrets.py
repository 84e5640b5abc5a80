"""What the filters make of a secret, given to the programs that read it: nginx and MariaDB."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.audioprothese.platform.plugins.filter.htpasswd import htpasswd
from ansible_collections.audioprothese.platform.plugins.filter.mariadb_password_hash import mariadb_password_hash

from tests.contract.mariadb import running
from tests.contract.rendered import Documents
from tests.contract.test_openmrs_nginx import ask, nginx

PASSWORDS = ["simple", 'It\'s \\ a "p@ss:/?#%+ &=word"', "pässwörd", "x" * 72]
CONFIGURATION = """
worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /healthz {{ return 200; }}
        location / {{
            auth_basic realm; auth_basic_user_file {folder}/htpasswd;
            root {folder}/html;
        }}
    }}
}}
"""


def test_nginx_lets_in_who_knows_the_password_and_nobody_else(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "page").write_text("in")
    lines = [htpasswd(password, f"user{n}", realm="test", cost=4) for n, password in enumerate(PASSWORDS)]
    (tmp_path / "htpasswd").write_text("".join(f"{line}\n" for line in lines))
    tmp_path.chmod(0o755)
    user = "" if Path("/proc/self").owner() != "root" else "user root;\n"
    with nginx(user + CONFIGURATION.format(folder=tmp_path, port=port), tmp_path, port):
        for number, password in enumerate(PASSWORDS):
            for tried, status in ((password, 200), (password[:-1], 401), ("other", 401)):
                token = base64.b64encode(f"user{number}:{tried}".encode()).decode()
                assert ask(port, "/page", Authorization=f"Basic {token}").status == status, (number, tried == password)


@pytest.fixture(scope="module")
def production(rendered: Callable[[str], Documents]) -> Documents:
    return rendered("production")


def test_mariadb_lets_in_who_knows_the_password(production: Documents, free_port: Callable[[], int]) -> None:
    with running(production["kubernetes"], free_port()) as server:
        where = ["--host=127.0.0.1", f"--port={server.port}", "--protocol=tcp", *server.tls()]
        for number, password in enumerate(PASSWORDS):
            hashed = mariadb_password_hash(password)
            server.root(f"CREATE USER u{number}@'%' IDENTIFIED VIA mysql_native_password USING '{hashed}'")
            assert server.sql("SELECT 1", *where, user=f"u{number}", password=password) == "1\n"
            with pytest.raises(AssertionError, match="Access denied"):
                server.sql("SELECT 1", *where, user=f"u{number}", password="other")
