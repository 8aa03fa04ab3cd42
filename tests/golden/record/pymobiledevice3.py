"""Records what pymobiledevice3 sends for calls that no other capture has.

    python3 pymobiledevice3.py FOLDER

Needs pymobiledevice3 11.45 beside this Python; writes FOLDER/library-*.jsonl. The program's own service classes speak
over a socket pair whose other end answers.
"""

import asyncio
import contextlib
import os
import plistlib
import socket
import sys
import tempfile
import threading
from pathlib import Path

# This file bears the package's name.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]
sys.modules.pop("pymobiledevice3", None)

from pymobiledevice3.remote.remote_service_discovery import RemoteServiceDiscoveryService
from pymobiledevice3.service_connection import ServiceConnection
from pymobiledevice3.services.device_link import DeviceLink
from pymobiledevice3.services.heartbeat import HeartbeatService
from pymobiledevice3.services.house_arrest import HouseArrestService
from pymobiledevice3.services.power_assertion import PowerAssertionService
from pymobiledevice3.services.springboard import SpringBoardServicesService

sys.path.append(str(Path(__file__).parent))
from standin import Capture, frame, serve


class Provider:
    """Where a service class gets its connection from."""

    def __init__(self, capture, layer, answer):
        self.capture, self.layer, self.answer, self.threads = capture, layer, answer, []

    async def start_lockdown_service(self, _name, include_escrow_bag=False):
        ours, theirs = socket.socketpair()
        arguments = (theirs, self.capture, len(self.threads) + 1, self.layer, self.answer)
        self.threads.append(threading.Thread(target=serve, args=arguments))
        self.threads[-1].start()
        return await ServiceConnection.from_socket(ours)

    start_lockdown_service_without_checkin = start_lockdown_service


def fixed(replies):
    """Answers requests, told apart by the value of one of their keys."""

    def answer(message):
        if message is None:
            return []
        values = plistlib.loads(message[4:]).values()
        return next((said for name, said in replies.items() if name in values), [])

    return answer


async def springboard(capture):
    answer = fixed(
        {
            "getHomeScreenIconMetrics": [frame({"homeScreenIconColumns": 4, "homeScreenIconRows": 6})],
            "getWallpaperInfo": [frame({"wallpaperColor": "#112233", "wallpaperName": "homescreen"})],
            "getWallpaperPreviewImage": [frame({"pngData": b"\x89PNG"})],
        }
    )
    provider = Provider(capture, "com.apple.springboardservices", answer)
    async with SpringBoardServicesService(provider) as service:
        await service.get_homescreen_icon_metrics()
        await service.get_wallpaper_info("homescreen")
        await service.get_wallpaper_preview_image("lockscreen")


async def assertion(capture):
    answer = fixed(
        {
            "AMDPowerAssertionTypeWirelessSync": [frame({"CommandKey": "CommandCreateAssertion"})],
            "PreventUserIdleSystemSleep": [frame({"ErrorKey": 3})],
        }
    )
    provider = Provider(capture, "com.apple.mobile.assertion_agent", answer)
    async with PowerAssertionService(provider) as service:
        async with service.create_power_assertion("AMDPowerAssertionTypeWirelessSync", "recorder", 10, "a word"):
            pass
        async with service.create_power_assertion("PreventUserIdleSystemSleep", "recorder", 2.5):
            pass


async def heartbeat(capture):
    beats = iter([[frame({"Command": "Marco", "Interval": 10})], [frame({"Command": "SleepyTime"})], []])
    provider = Provider(capture, "com.apple.mobile.heartbeat", lambda _message: next(beats, []))
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(HeartbeatService(provider).start(), 1)


async def house_arrest(capture):
    answer = fixed({"com.example.gone": [frame({"Error": "ApplicationLookupFailed"})]})
    provider = Provider(capture, "com.apple.mobile.house_arrest", answer)
    with contextlib.suppress(Exception):
        await HouseArrestService.create(provider, "com.example.gone")


async def rsd_checkin(capture):
    answer = fixed({"RSDCheckin": [frame({"Request": "RSDCheckin"}), frame({"Request": "StartService"})]})
    provider = Provider(capture, "lockdown", answer)
    service = await RemoteServiceDiscoveryService.start_lockdown_service(provider, "com.apple.afc.shim.remote")
    await service.close()


async def device_link(capture):
    """The requests that the recorded backups lack."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "udid").mkdir()
        requests = [
            ["DLMessageVersionExchange", 400, 0],
            ["DLMessageDeviceReady"],
            ["DLMessageGetFreeDiskSpace"],
            ["DLMessagePurgeDiskSpace", 2281701376, 4],
            ["DLMessageProcessMessage", {"ErrorCode": 105, "ErrorDescription": "Insufficient free disk space", "MessageName": "Response"}],
        ]
        script = iter([requests[:1], requests[1:3], requests[3:4], requests[4:]])
        said = lambda _message: [frame(value, plistlib.FMT_BINARY) for value in next(script, [])]
        service = await Provider(capture, "com.apple.mobilebackup2", said).start_lockdown_service("")
        link = DeviceLink(service, Path(folder))
        await link.version_exchange()
        with contextlib.suppress(Exception):
            await link.dl_loop()
        await service.close()


async def main():
    for job in (springboard, assertion, heartbeat, house_arrest, rsd_checkin, device_link):
        capture = Capture(os.path.join(sys.argv[1], "library-%s.jsonl" % job.__name__.replace("_", "-")))
        await job(capture)
        await asyncio.sleep(0.2)
        capture.save()


asyncio.run(main())
# Threads may still wait for clients that never hang up.
os._exit(0)
