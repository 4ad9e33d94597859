"""Where a file lives, and whether SQLite may work there."""

from __future__ import annotations

import re
from pathlib import Path

from flowblob.errors import NotSupportedError

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"(nfs\d*|cifs|smb\w*|afs|ncpfs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|vboxsf"
    r"|fuse\.(sshfs|s3fs|gcsfuse|rclone|glusterfs|ceph|blobfuse2?|goofys|mountpoint-s3|davfs2?))\Z"
)


def refuse_network(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """Refuse a file on a network file system.

    WAL needs memory shared by all processes that have the file open, which two machines do not
    have (https://www.sqlite.org/wal.html), and flock is not reliable there.

    Args:
        path: The file, which need not exist.
        mounts: The kernel's table of mounts.

    Raises:
        NotSupportedError: It is on one; the message names the way out.
    """
    kind, folder = mount_of(path, mounts=mounts)
    if _NETWORK.match(kind):
        raise NotSupportedError(
            f"{path} is on a network file system ({kind} at {folder}), where SQLite loses data",
            hint="Use a local disk, or share the store through PostgreSQL or MongoDB: "
            "postgresql://host/db?storage=file://…",
        )


def mount_of(path: Path, *, mounts: Path = _MOUNTS) -> tuple[str, str]:
    """Return (file system, mount point) of the longest mount that holds the path."""
    real = path.resolve()
    best, kind = "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "", ""  # no such table here, so nothing to go by
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
        # A later line covers an earlier one at the same point.
        if len(point) >= len(best) and real.is_relative_to(point):
            best, kind = point, right.split(" ", 1)[0]
    return kind, best
