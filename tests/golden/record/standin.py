"""A stand-in for daemon and device that writes down both directions of one connection after another.

It answers just enough for a client's library call to return; what it says shows what that client accepts, not what a
device sends. Device, names and keys are invented.
"""

import json
import plistlib
import socket
import struct
import threading

UDID = "00008030-001A2B3C4D5E6F70"


class Capture:
    """One `.jsonl` file in the making."""

    def __init__(self, path):
        self.path, self.lines, self.lock = path, [], threading.Lock()

    def note(self, conn, layer, direction, data):
        with self.lock:
            self.lines.append({"conn": conn, "layer": layer, "dir": direction, "hex": data.hex()})

    def save(self):
        # Order of connections first: threads of one program may overlap.
        self.lines.sort(key=lambda line: line["conn"])
        with open(self.path, "w", encoding="ascii") as out:
            out.writelines(json.dumps(line) + "\n" for line in self.lines)


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_frame(sock):
    head = read_exactly(sock, 4)
    return head + read_exactly(sock, struct.unpack(">I", head)[0])


def read_packet(sock):
    head = read_exactly(sock, 40)
    return head + read_exactly(sock, struct.unpack("<Q", head[8:16])[0] - 40)


def frame(value, fmt=plistlib.FMT_XML):
    body = plistlib.dumps(value, fmt=fmt)
    return struct.pack(">I", len(body)) + body


def afc(request, operation, payload=b"", fields=b""):
    this = 40 + len(fields)
    head = b"CFA6LPAA" + struct.pack("<QQ", this + len(payload), this) + request[24:32] + struct.pack("<Q", operation)
    return head + fields + payload


def serve(sock, capture, conn, layer, answer):
    """Answers every message of a service until the client hangs up."""
    try:
        for unasked in answer(None) or []:
            capture.note(conn, layer, "device>host", unasked)
            sock.sendall(unasked)
        while True:
            message = (read_packet if layer == "com.apple.afc" else read_frame)(sock)
            capture.note(conn, layer, "host>device", message)
            for reply in answer(message) or []:
                capture.note(conn, layer, "device>host", reply)
                sock.sendall(reply)
    except (EOFError, OSError):
        pass
    finally:
        sock.close()


class Daemon:
    """Speaks usbmux on a loopback port and turns each connected port into the service that `services` names."""

    def __init__(self, capture, services):
        self.capture, self.services, self.conn = capture, services, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            sock, _ = self.listener.accept()
            self.conn += 1
            threading.Thread(target=self.talk, args=(sock, self.conn), daemon=True).start()

    def say(self, sock, conn, tag, value):
        body = plistlib.dumps(value)
        data = struct.pack("<IIII", 16 + len(body), 1, 8, tag) + body
        self.capture.note(conn, "usbmux", "mux>host", data)
        sock.sendall(data)

    def talk(self, sock, conn):
        device = {
            "DeviceID": 1,
            "MessageType": "Attached",
            "Properties": {
                "ConnectionSpeed": 480000000,
                "ConnectionType": "USB",
                "DeviceID": 1,
                "LocationID": 65539,
                "ProductID": 4776,
                "SerialNumber": UDID.replace("-", ""),
            },
        }
        try:
            while True:
                head = read_exactly(sock, 16)
                length, _, _, tag = struct.unpack("<IIII", head)
                body = read_exactly(sock, length - 16)
                self.capture.note(conn, "usbmux", "host>mux", head + body)
                request = plistlib.loads(body)
                kind = request["MessageType"]
                done = {"MessageType": "Result", "Number": 0}
                if kind == "ListDevices":
                    self.say(sock, conn, tag, {"DeviceList": [device]})
                elif kind == "Listen":
                    self.say(sock, conn, tag, done)
                    self.say(sock, conn, 0, device)
                    self.say(sock, conn, 0, {"DeviceID": 1, "MessageType": "Paired"})
                    self.say(sock, conn, 0, {"DeviceID": 1, "MessageType": "Detached"})
                elif kind == "Connect":
                    self.say(sock, conn, tag, done)
                    layer, answer = self.services[socket.ntohs(request["PortNumber"])]
                    return serve(sock, self.capture, conn, layer, answer)
                elif kind == "ReadBUID":
                    self.say(sock, conn, tag, {"BUID": "30F1D6C2-1B7C-4E6B-9AF2-6B1D0E4E3C7A"})
                else:
                    self.say(sock, conn, tag, {"MessageType": "Result", "Number": 2})
        except (EOFError, OSError):
            sock.close()
