"""Records what libimobiledevice sends for calls that none of its tools makes.

    python3 libimobiledevice.py FOLDER

Needs libimobiledevice 1.3, libusbmuxd 2.0 and libplist; writes FOLDER/library-*.jsonl.
"""

import ctypes
import os
import plistlib
import struct
import sys
import time
from ctypes import byref, c_char_p, c_int, c_uint16, c_uint64, c_uint8, c_void_p

import standin
from standin import Capture, Daemon, afc, frame

BUNDLE = b"com.example.notes"
LIB = ctypes.CDLL("libimobiledevice-1.0.so.6")
MUX = ctypes.CDLL("libusbmuxd-2.0.so.6")
PLIST = ctypes.CDLL("libplist-2.0.so.3")


class Service(ctypes.Structure):
    _fields_ = [("port", c_uint16), ("ssl_enabled", c_uint8), ("identifier", c_char_p)]


class PairRecord(ctypes.Structure):
    _fields_ = [(name, c_char_p) for name in ("device", "host", "root", "host_id", "system_buid")]


def plist(value):
    data, node = plistlib.dumps(value), c_void_p()
    PLIST.plist_from_xml(data, len(data), byref(node))
    return node


def lockdown(message):
    if message is None:
        return []
    request = plistlib.loads(message[4:])
    reply = {"Request": request["Request"]}
    if request["Request"] == "QueryType":
        reply["Type"] = "com.apple.mobile.lockdown"
    elif request["Request"] == "GetValue":
        reply.update(Key=request.get("Key", ""), Value="6.1.3")
    elif request["Request"] == "StartSession":
        reply.update(SessionID="7F3C7A5E-52B1-4B4C-8E0C-1A6D8C9D2E11", EnableSessionSSL=False)
    elif request["Request"] == "StopSession":
        reply["Result"] = "Success"
    return [frame(reply)]


def afc_answer(message):
    if message is None:
        return []
    operation = struct.unpack("<Q", message[32:40])[0]
    if operation == 0x0D:
        return [afc(message, 0x0E, fields=struct.pack("<Q", 3))]
    if operation == 0x12:
        return [afc(message, 0x13, fields=struct.pack("<Q", 0))]
    return [afc(message, 0x01, fields=struct.pack("<Q", 0))]


def installation(message):
    if message is None:
        return []
    request = plistlib.loads(message[4:])
    if request["Command"] == "LookupArchives":
        return [frame({"Status": "Complete", "LookupResult": {}})]
    if request["Command"] == "CheckCapabilitiesMatch":
        return [frame({"Status": "Complete", "LookupResult": {"CapabilitiesMatch": True}})]
    if request["Command"] == "Upgrade":
        return [frame({"Error": "APIInternalError", "ErrorDescription": "a word about it", "ErrorDetail": 5})]
    return [
        frame({"Status": "CreatingStagingDirectory", "PercentComplete": 5}),
        frame({"Status": "InstallingApplication", "PercentComplete": 60}),
        frame({"Status": "Complete"}),
    ]


def springboard(message):
    if message is None:
        return []
    command = plistlib.loads(message[4:])["command"]
    if command == "getInterfaceOrientation":
        return [frame({"interfaceOrientation": 1})]
    if command == "getHomeScreenWallpaperPNGData":
        return [frame({"pngData": b"\x89PNG"})]
    return []


def diagnostics(message):
    return [] if message is None else [frame({"Status": "Success"})]


def client(make, device, port):
    handle, service = c_void_p(), Service(port, 0, b"")
    code = make(device, byref(service), byref(handle))
    assert code == 0, (make.__name__, code)
    return handle


def expect(code, wanted=0):
    assert code == wanted, code


def record_lockdown(device):
    handle, session, ssl = c_void_p(), c_char_p(), c_int()
    expect(LIB.lockdownd_client_new(device, byref(handle), b"recorder"))
    # Certificates are only carried here; the library sends what it is given.
    pem = [b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % name for name in (b"device", b"host", b"root")]
    host = b"3A9774BA-D003-FEE5-8CB7-2FA08131D577"
    pairing = PairRecord(*pem, host, b"30F1D6C2-1B7C-4E6B-9AF2-6B1D0E4E3C7A")
    LIB.lockdownd_validate_pair(handle, byref(pairing))
    expect(LIB.lockdownd_start_session(handle, host, byref(session), byref(ssl)))
    expect(LIB.lockdownd_remove_value(handle, b"com.apple.mobile.iTunes", b"LibraryApplications"))
    expect(LIB.lockdownd_activate(handle, plist({"AccountToken": b"invented", "unbrick": True})))
    expect(LIB.lockdownd_deactivate(handle))
    expect(LIB.lockdownd_enter_recovery(handle))
    expect(LIB.lockdownd_goodbye(handle))
    LIB.lockdownd_client_free(handle)


def record_afc(device):
    handle, file, position = client(LIB.afc_client_new, device, 2), c_uint64(), c_uint64()
    expect(LIB.afc_truncate(handle, b"/DCIM/x", c_uint64(3)))
    expect(LIB.afc_file_open(handle, b"/DCIM/x", c_int(1), byref(file)))
    expect(LIB.afc_file_tell(handle, file, byref(position)))
    expect(LIB.afc_file_close(handle, file))
    expect(LIB.afc_remove_path_and_contents(handle, b"/DCIM"))
    LIB.afc_client_free(handle)


def record_installation(device):
    handle, result = client(LIB.instproxy_client_new, device, 3), c_void_p()
    for call, of, options in [
        (LIB.instproxy_install, b"PublicStaging/x.ipa", {"CFBundleIdentifier": BUNDLE.decode()}),
        (LIB.instproxy_upgrade, b"PublicStaging/x.ipa", {"CFBundleIdentifier": BUNDLE.decode()}),
        (LIB.instproxy_archive, BUNDLE, {"SkipUninstall": True}),
        (LIB.instproxy_restore, BUNDLE, {}),
        (LIB.instproxy_remove_archive, BUNDLE, {}),
        (LIB.instproxy_uninstall, BUNDLE, {}),
    ]:
        expect(call(handle, of, plist(options), None, None))
        time.sleep(0.3)  # a thread of the library reads the answers
    LIB.instproxy_lookup_archives(handle, plist({}), byref(result))
    capabilities = (c_char_p * 2)(b"armv7", None)
    LIB.instproxy_check_capabilities_match(handle, capabilities, plist({}), byref(result))
    LIB.instproxy_client_free(handle)


def record_springboard(device):
    handle, orientation, png, size = client(LIB.sbservices_client_new, device, 4), c_int(), c_void_p(), c_uint64()
    expect(LIB.sbservices_get_interface_orientation(handle, byref(orientation)))
    expect(LIB.sbservices_get_home_screen_wallpaper_pngdata(handle, byref(png), byref(size)))
    expect(LIB.sbservices_set_icon_state(handle, plist([[{"bundleIdentifier": BUNDLE.decode()}]])))
    LIB.sbservices_client_free(handle)


def record_diagnostics(device):
    handle = client(LIB.diagnostics_relay_client_new, device, 5)
    expect(LIB.diagnostics_relay_sleep(handle))
    expect(LIB.diagnostics_relay_restart(handle, c_int(2 | 4)))  # wait for disconnect, show success
    expect(LIB.diagnostics_relay_shutdown(handle, c_int(2 | 8)))  # wait for disconnect, show failure
    expect(LIB.diagnostics_relay_goodbye(handle))
    LIB.diagnostics_relay_client_free(handle)


def record_listen(_device):
    kept = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)(lambda _event, _user: None)
    MUX.usbmuxd_subscribe(kept, None)
    time.sleep(1)
    MUX.usbmuxd_unsubscribe()


def main():
    services = {
        62078: ("lockdown", lockdown),
        2: ("com.apple.afc", afc_answer),
        3: ("com.apple.mobile.installation_proxy", installation),
        4: ("com.apple.springboardservices", springboard),
        5: ("com.apple.mobile.diagnostics_relay", diagnostics),
    }
    folder = sys.argv[1]
    jobs = [record_lockdown, record_afc, record_installation, record_springboard, record_diagnostics, record_listen]
    for job in jobs:
        capture = Capture(os.path.join(folder, "library-%s.jsonl" % job.__name__.removeprefix("record_")))
        os.environ["USBMUXD_SOCKET_ADDRESS"] = Daemon(capture, services).address
        device = c_void_p()
        if job is not record_listen:
            expect(LIB.idevice_new(byref(device), standin.UDID.encode()))
        job(device)
        time.sleep(0.3)
        capture.save()


main()
