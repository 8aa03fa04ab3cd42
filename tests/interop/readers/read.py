"""Reads the files of a backup with another program's library and writes their contents, one file each.

read.py READER BACKUP PASSWORD WANTED OUT

WANTED has a line per file, [file id, domain, path] as JSON; OUT/0, OUT/1 ... become their contents. PASSWORD is empty for
a backup that has none.
"""

import json
import os
import sys


def with_iphone_backup_decrypt(folder, password):
    from iphone_backup_decrypt import EncryptedBackup

    backup = EncryptedBackup(backup_directory=folder, passphrase=password)
    return lambda _id, domain, path: backup.extract_file_as_bytes(path, domain_like=domain)


def with_pyiosbackup(folder, password):
    from pyiosbackup import Backup

    backup = Backup.from_path(folder, password)
    return lambda _id, domain, path: backup.get_entry_by_domain_and_path(domain, path).read_bytes()


def with_iosbackup(folder, password):
    from iOSbackup import iOSbackup

    root, udid = os.path.split(folder)
    backup = iOSbackup(udid=udid, cleartextpassword=password or None, backuproot=root)

    def read(file_id, _domain, _path):
        entry = backup.getFileManifestDBEntry(fileNameHash=file_id)
        if password:
            _info, content = backup.getFileDecryptedData(fileNameHash=file_id, manifestData=entry["manifest"])
            return content
        # Its call in memory is for encrypted backups only.
        info = backup.getFileDecryptedCopy(manifestEntry=entry, temporary=True)
        with open(info["decryptedFilePath"], "rb") as copy:
            content = copy.read()
        os.remove(info["decryptedFilePath"])
        return content

    return read


READERS = {
    "iphone_backup_decrypt": with_iphone_backup_decrypt,
    "pyiosbackup": with_pyiosbackup,
    "iOSbackup": with_iosbackup,
}


def main():
    reader, folder, password, wanted, out = sys.argv[1:]
    read = READERS[reader](folder, password)
    with open(wanted, encoding="utf-8") as lines:
        for index, line in enumerate(lines):
            content = read(*json.loads(line))
            with open(os.path.join(out, str(index)), "wb") as target:
                target.write(content)


main()
