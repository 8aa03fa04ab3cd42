#!/usr/bin/env python3
"""Calls libimobiledevice's own mobilesync functions, step by step.

    mobilesync.py LIBRARY UDID STEPS.plist RESULTS.plist

STEPS is an array of arrays: the name of a step and its arguments. RESULTS gets one dictionary for each step, in order, with
`code` (0 is success) and what the step gave. After a step with another code the steps go on: what a failed step means is
the caller's business.
"""

import ctypes
import plistlib
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p

SYNC_TYPES = ["fast", "slow", "reset"]


class Plists:
    """Property lists of libplist, which comes with the library, as Python's own."""

    def __init__(self, library):
        self.library = library
        for name in ("plist_from_memory", "plist_to_xml", "plist_to_xml_free", "plist_free"):
            getattr(library, name).restype = None
        library.plist_to_xml.argtypes = [c_void_p, POINTER(c_void_p), POINTER(c_uint32)]
        library.plist_to_xml_free.argtypes = [c_void_p]
        library.plist_free.argtypes = [c_void_p]

    def node(self, value):
        xml = plistlib.dumps(value)
        node = c_void_p()
        read = self.library.plist_from_xml
        read.restype = None
        read.argtypes = [c_char_p, c_uint32, POINTER(c_void_p)]
        read(xml, len(xml), byref(node))
        if not node:
            raise SystemExit("libplist does not read what plistlib wrote")
        return node

    def value(self, node):
        """What a node holds; None for no node. The node is freed."""
        if not node:
            return None
        xml, length = c_void_p(), c_uint32()
        self.library.plist_to_xml(node, byref(xml), byref(length))
        text = ctypes.string_at(xml, length.value)
        self.library.plist_to_xml_free(xml)
        self.library.plist_free(node)
        return plistlib.loads(text)


class Sync:
    """One connection to the sync service."""

    def __init__(self, library, plists, udid):
        self.library = library
        self.plists = plists
        self.device, self.client = c_void_p(), c_void_p()
        code = self.call("idevice_new", byref(self.device), udid.encode())
        if code:
            raise SystemExit(f"idevice_new: {code}")

    def call(self, name, *arguments):
        function = getattr(self.library, name)
        function.restype = c_int
        return function(*arguments)

    def on_client(self, name, *arguments):
        return {"code": self.call(name, self.client, *arguments)}

    def connect(self):
        start = "mobilesync_client_start_service"
        return {"code": self.call(start, self.device, byref(self.client), b"interop")}

    def free(self):
        return self.on_client("mobilesync_client_free")

    def start(self, data_class, device_anchor, computer_anchor, version):
        make = self.library.mobilesync_anchors_new
        make.restype = c_void_p
        anchor = device_anchor.encode() if device_anchor else None
        anchors = c_void_p(make(anchor, computer_anchor.encode()))
        sync_type, device_version, said = c_int(-1), c_uint64(0), c_char_p()
        result = self.on_client(
            "mobilesync_start",
            data_class.encode(),
            anchors,
            c_uint64(version),
            byref(sync_type),
            byref(device_version),
            byref(said),
        )
        self.call("mobilesync_anchors_free", anchors)
        if result["code"] == 0:
            result["type"] = SYNC_TYPES[sync_type.value]
            result["version"] = device_version.value
        if said.value:
            result["said"] = said.value.decode()
        return result

    def pull(self, which):
        """Asks for `all` or `changes`, and acknowledges batch after batch."""
        names = {"all": "mobilesync_get_all_records_from_device", "changes": "mobilesync_get_changes_from_device"}
        result = self.on_client(names[which])
        records, batches, last = {}, 0, False
        while result["code"] == 0 and not last:
            entities, is_last, actions = c_void_p(), c_uint8(0), c_void_p()
            result = self.on_client("mobilesync_receive_changes", byref(entities), byref(is_last), byref(actions))
            if result["code"]:
                break
            told = self.plists.value(entities)
            self.plists.value(actions)
            if isinstance(told, dict):
                records.update(told)
            batches, last = batches + 1, bool(is_last.value)
            result = self.on_client("mobilesync_acknowledge_changes_from_device")
        return {**result, "records": records, "batches": batches}

    def ready(self):
        return self.on_client("mobilesync_ready_to_send_changes_from_computer")

    def send(self, records, last, entities):
        """One message of changes, and the device's identifiers for what is new in it."""
        actions = c_void_p(self.actions(entities, last))
        node = self.plists.node(records)
        result = self.on_client("mobilesync_send_changes", node, c_uint8(last), actions)
        self.library.plist_free(node)
        self.library.plist_free(actions)
        mapping = c_void_p()
        if result["code"] == 0:
            result = self.on_client("mobilesync_remap_identifiers", byref(mapping))
        return {**result, "mapping": self.plists.value(mapping) or {}}

    def actions(self, entities, last):
        make = self.library.mobilesync_actions_new
        make.restype = c_void_p
        actions = make()
        names = (c_char_p * len(entities))(*[name.encode() for name in entities])
        add = self.library.mobilesync_actions_add
        add.restype = None
        end = c_void_p(None)
        add(c_void_p(actions), b"SyncDeviceLinkEntityNamesKey", names, c_int(len(entities)), end)
        add(c_void_p(actions), b"SyncDeviceLinkAllRecordsOfPulledEntityTypeSentKey", c_int(last), end)
        return actions

    def clear(self):
        return self.on_client("mobilesync_clear_all_records_on_device")

    def cancel(self, reason):
        return self.on_client("mobilesync_cancel", reason.encode())

    def finish(self):
        return self.on_client("mobilesync_finish")


def main():
    library, udid, steps, results = sys.argv[1:]
    library = ctypes.CDLL(library)
    sync = Sync(library, Plists(library), udid)
    with open(steps, "rb") as file:
        steps = plistlib.load(file)
    said = []
    for name, *arguments in steps:
        if name not in ("connect", "start", "pull", "ready", "send", "clear", "cancel", "finish", "free"):
            raise SystemExit(f"no step is called {name}")
        said.append(getattr(sync, name)(*arguments))
    with open(results, "wb") as file:
        plistlib.dump(said, file)


main()
