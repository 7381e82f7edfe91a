# What netd's TCP port answers: to plaintext, to older TLS, to a client without a certificate, and as it should be.
import socket, ssl, sys

host, port, files = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def asked(stream):
    """Whether a server of HTTP/2 answers with its settings."""
    try:
        stream.sendall(PREFACE)
        return stream.recv(9)[3:4] == b"\x04"
    except OSError:
        return False


def say(what, answered):
    print(what, "accepted" if answered else "refused")


with socket.create_connection((host, port), 20) as stream:
    say("plaintext", asked(stream))
for what, version, certificate in [
    ("tls1.2", ssl.TLSVersion.TLSv1_2, True),
    ("no certificate", ssl.TLSVersion.TLSv1_3, False),
    ("tls1.3", ssl.TLSVersion.TLSv1_3, True),
]:
    context = ssl.create_default_context(cafile=files + "/ca.pem")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(files + "/cert.pem", files + "/key.pem")
    with socket.create_connection((host, port), 20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as stream:
                say(what, asked(stream))
        except OSError:
            say(what, False)
