"""A mail server on loopback: STARTTLS, AUTH, and every mail that it takes as one JSON line on standard output.

Settings in the environment: SMTP_CERT and SMTP_KEY (PEM files; without them no TLS), SMTP_USER and SMTP_PASSWORD (without
them no AUTH), SMTP_PORT (0 picks one), SMTP_REFUSE (a recipient that is refused).
"""

import json
import os
import ssl
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

USER = os.environ.get("SMTP_USER")
PASSWORD = os.environ.get("SMTP_PASSWORD")


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == os.environ.get("SMTP_REFUSE"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": session.auth_data.login.decode() if session.authenticated else None,
            "text": envelope.content.decode(),
        }
        print("mail " + json.dumps(mail), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, login):
    good = login.login.decode() == USER and login.password.decode() == PASSWORD
    return AuthResult(success=good, handled=good, auth_data=login if good else None)


def main():
    context = None
    if "SMTP_CERT" in os.environ:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ["SMTP_CERT"], os.environ["SMTP_KEY"])

    class Server(Controller):
        def factory(self):
            return SMTP(
                self.handler,
                tls_context=context,
                require_starttls=context is not None,
                authenticator=authenticate if USER else None,
                auth_required=USER is not None,
                auth_require_tls=context is not None,
            )

        def _trigger_server(self):
            self.port = self.server.sockets[0].getsockname()[1]  # known only now
            super()._trigger_server()

    controller = Server(Handler(), hostname="127.0.0.1", port=int(os.environ.get("SMTP_PORT", "0")))
    controller.start()
    print(f"listening on {controller.port}", flush=True)
    while True:
        time.sleep(3600)


main()
