"""A mail server: aiosmtpd, which answers mails as it is told and writes what it took, a line of JSON each."""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult

PATH, TLS, CERTIFICATE, KEY, PASSWORD, ANSWERS = sys.argv[1:]
ANSWERS = ANSWERS.split("|")  # one for each mail, the last for all that follow


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = ANSWERS[min(Handler.count, len(ANSWERS) - 1)]
        Handler.count += 1
        mail = message_from_bytes(envelope.content, policy=policy.default)
        line = {
            "answer": int(answer[:3]),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data.decode() if session.auth_data else None,
            "id": mail["Message-ID"],
            "subject": mail["Subject"],
            "text": mail.get_content().replace("\r\n", "\n"),
            "raw": envelope.content.decode("ascii"),
        }
        with open(PATH, "a") as file:
            file.write(json.dumps(line) + "\n")
        return answer


def authenticate(server, session, envelope, mechanism, data):
    good = data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=good, auth_data=data.login)


async def main():
    loop = asyncio.get_running_loop()
    context = None
    if TLS != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE, KEY)
    options = {"hostname": "mail.test", "auth_require_tls": TLS == "starttls"}
    if PASSWORD:
        options |= {"authenticator": authenticate, "auth_required": True}
    if TLS == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    implicit = context if TLS == "implicit" else None
    server = await loop.create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0, ssl=implicit)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with whoever started it


asyncio.run(main())
