"""A mail server on loopback that speaks SMTP as RFC 5321 has it, and keeps what it takes."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class MailServer:
    """A running server: `taken` are the messages, `logins` the names and passwords that were sent."""

    url: str
    taken: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, ...]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    # Answer to the command that begins a message.
    mail_answer: str = "250 go on"
    # Answer to the farewell; an empty one hangs up.
    quit_answer: str = "221 farewell"
    unknown: tuple[str, ...] = ()


@contextmanager
def mail_server(host: str = "127.0.0.1") -> Iterator[MailServer]:
    """Serve until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 loopback")
            recipients: list[str] = []
            while line := self.rfile.readline().decode().strip():
                match line.upper().split(":")[0].split():
                    case ["EHLO", *_]:
                        self._say("250-loopback", "250 AUTH PLAIN")
                    case ["AUTH", "PLAIN", *_]:
                        mail.logins.append(line.split()[-1])
                        self._say("235 known")
                    case ["MAIL", "FROM"]:
                        recipients = []
                        self._say(mail.mail_answer)
                    case ["RCPT", "TO"]:
                        name = line.split("<")[1].split(">")[0]
                        known = name not in mail.unknown
                        recipients += [name] if known else []
                        self._say("250 known" if known else "550 nobody of that name")
                    case ["DATA"]:
                        self._say("354 tell")
                        mail.taken.append(self._message())
                        mail.envelopes.append(tuple(recipients))
                        self._say("250 taken")
                    case ["QUIT"]:
                        self._say(*filter(None, [mail.quit_answer]))
                        return
                    case _:
                        self._say("250 as you like")

        def _message(self) -> EmailMessage:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            message = message_from_bytes(b"".join(lines), policy=policy.default)
            assert isinstance(message, EmailMessage)
            return message

        def _say(self, *lines: str) -> None:
            self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    with socketserver.ThreadingTCPServer((host, 0), Handler) as server:
        mail = MailServer(f"smtp://{host}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mail
        finally:
            server.shutdown()
            thread.join()
