"""Signs people in to a gateway through a real Dex, as a browser would.

    make dex DEX=/path/to/dex

It starts both on loopback, in a folder of its own, and says what holds. Dex is built
from its source (go build ./cmd/dex); it was tried with the one of August 2026, with and
without its sessions (DEX_SESSIONS_ENABLED), in which it remembers who signed in.
"""

import argparse
import html
import http.cookiejar
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

# bcrypt of "password", from Dex's own examples
HASH = "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"
failed = 0


def check(what, holds, detail=""):
    global failed
    failed += not holds
    print(("ok    " if holds else "FAILS ") + what + ("" if holds else f": {detail}"))


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Browser:
    """One that keeps cookies and follows redirects, and fills in Dex's form."""

    def __init__(self, context):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, url, form=None, headers={}):
        data = form if isinstance(form, (bytes, type(None))) else urllib.parse.urlencode(form).encode()
        try:
            a = self.opener.open(urllib.request.Request(url, data, headers), timeout=20)
        except urllib.error.HTTPError as e:
            a = e
        return a.status, a.geturl(), a.read().decode()

    def sign_in(self, url, login, password="password"):
        """Goes to a page that leads to Dex, and signs in there if it asks."""
        status, at, page = self.get(url)
        asked = "/dex/auth" in at
        if asked:
            action = re.search(r'<form[^>]*action="([^"]*)"', page)
            target = urllib.parse.urljoin(at, html.unescape(action.group(1)) if action else at)
            form = {"login": login, "password": password}
            if re.search(r'name="remember_me"[^>]*checked', page):
                form["remember_me"] = "on"
            status, at, page = self.get(target, form)
        return asked, status, at, page


def run(args, sessions):
    """With sessions, the gateway also takes Dex for one that demands a second factor."""
    print(f"== Dex {'with' if sessions else 'without'} sessions")
    rest, grpc, admin, dex_port = free_ports(4)
    origin, issuer = f"https://localhost:{rest}", f"http://127.0.0.1:{dex_port}/dex"
    folder = tempfile.TemporaryDirectory()
    at = lambda name: os.path.join(folder.name, name)
    config = {
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": {"http": f"127.0.0.1:{dex_port}"},
        "oauth2": {"skipApprovalScreen": True, "passwordConnector": "local"},
        "enablePasswordDB": True,
        "staticClients": [{"id": "redoubt", "secret": "a-secret-of-this-test", "name": "Redoubt", "redirectURIs": [origin + "/auth/callback"]}],
        "staticPasswords": [
            {"email": f"{who}@example.com", "hash": HASH, "username": who, "userID": f"id-{who}", "emailVerified": True, "preferredUsername": who, "groups": groups}
            for who, groups in [("ann", ["scientists"]), ("bob", ["others"]), ("eva", ["leads"])]
        ],
    }
    if sessions:
        config["sessions"] = {"rememberMeCheckedByDefault": True}
    with open(at("dex.yaml"), "w") as f:
        json.dump(config, f)
    subprocess.run(["go", "run", "./bench/bare", "-write", "-data", folder.name], check=True)
    with open(at("gateway.yaml"), "w") as f:
        json.dump({
            "data": at("data"),
            "listen": {"rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}", "admin": f"127.0.0.1:{admin}"},
            "models": [{"name": "simple", "path": at("simple.onnx")}],
            "identity": {"origin": origin, "issuers": [{
                "url": issuer, "name": "Dex", "client_id": "redoubt", "client_secret": "file:" + at("secret"),
                "scopes": ["profile", "email", "groups"], "groups_claim": "groups", "roles": {"scientists": ["model_user"], "leads": ["model_admin"]},
                "second_factor_always": sessions}]},
        }, f)
    with open(at("secret"), "w") as f:
        f.write("a-secret-of-this-test")
    os.chmod(at("secret"), 0o600)
    logs = [open(at("dex.log"), "w"), open(at("gateway.log"), "w")]
    servers = [
        subprocess.Popen([args.dex, "serve", at("dex.yaml")], stdout=logs[0], stderr=logs[0],
                         env={**os.environ, "DEX_SESSIONS_ENABLED": "true" if sessions else "false"}),
        subprocess.Popen([args.redoubt, "serve", "--config", at("gateway.yaml")], stdout=logs[1], stderr=logs[1]),
    ]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # of this run alone
    try:
        wait(f"{issuer}/.well-known/openid-configuration", context)
        wait(f"{origin}/v2/health/live", context)
        scenario(origin, issuer, context, sessions)
    finally:
        for s in servers:
            s.terminate()
            s.wait()
        if failed:
            for name in ("dex.log", "gateway.log"):
                print("--", name)
                print(open(at(name)).read()[-3000:])
        folder.cleanup()


def wait(url, context):
    for _ in range(150):
        try:
            urllib.request.urlopen(url, context=context, timeout=2)
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing answers at {url}")


def scenario(origin, issuer, context, sessions):
    page = f"{origin}/auth/signon?" + urllib.parse.urlencode({"issuer": issuer, "return": "/auth/account"})
    body = open("bench/load/simple.json", "rb").read()
    ask = lambda b: b.get(f"{origin}/v2/models/simple/infer", body, {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"})

    ann = Browser(context)
    asked, status, at, text = ann.sign_in(page, "ann@example.com")
    check("ann signs in and comes back to her account", asked and status == 200 and at == origin + "/auth/account" and "ann" in text, (status, at, text[-800:]))
    status, _, text = ask(ann)
    check("her group gives her the model", status == 200 and "OUTPUT0" in text, (status, text))

    bob = Browser(context)
    asked, status, at, text = bob.sign_in(page, "bob@example.com")
    check("bob signs in", asked and status == 200 and at == origin + "/auth/account", (status, at, text[-800:]))
    status, _, text = ask(bob)
    check("his group gives him nothing", status == 403, (status, text))

    mallory = Browser(context)
    _, status, at, text = mallory.sign_in(page, "ann@example.com", "wrong")
    check("a wrong password ends at Dex", "/dex/" in at, (status, at))
    status, _, text = mallory.get(f"{origin}/auth/callback?code=x&state=y")
    check("a callback without a visit is refused", status >= 400, (status, text))

    asked, status, at, text = ann.sign_in(page + "&again=1", "ann@example.com")
    check("ann confirms again, and Dex asks her to", asked and status == 200 and at == origin + "/auth/account", (asked, status, at, text[-800:]))
    asked, status, at, _ = ann.sign_in(page, "ann@example.com")
    check("to sign in anew, she is asked unless Dex has sessions", asked != sessions and status == 200 and at == origin + "/auth/account", (asked, status, at))

    eva = Browser(context)
    _, status, at, text = eva.sign_in(page, "eva@example.com")
    status, _, text = ask(eva)
    check("an administrator is let in only where Dex is said to demand a second factor", status == (200 if sessions else 403), (status, at, text))

    for name, token in tokens(issuer).items():
        status, _, text = Browser(context).get(f"{origin}/v2/models/simple/infer", body, {"Content-Type": "application/json", "Authorization": "Bearer " + token})
        check(f"Dex's {name}, which is for the login, is refused as a bearer token", status == 401, (status, text))


def tokens(issuer):
    """What Dex gives a program that shows ann's password."""
    form = {"grant_type": "password", "username": "ann@example.com", "password": "password", "scope": "openid groups",
            "client_id": "redoubt", "client_secret": "a-secret-of-this-test"}
    a = urllib.request.urlopen(issuer + "/token", urllib.parse.urlencode(form).encode(), timeout=20)
    given = json.load(a)
    return {"access token": given["access_token"], "ID token": given["id_token"]}


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--dex", required=True)
parser.add_argument("--redoubt", default="bin/redoubt")
arguments = parser.parse_args()
for with_sessions in (False, True):
    run(arguments, with_sessions)
sys.exit(failed > 0)
