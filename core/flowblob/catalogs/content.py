"""What makes a version a new one."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowblob.drafts import Draft


def content_hash(draft: Draft) -> bytes:
    """Hash everything whose change makes a new version; two drafts that agree are unchanged.

    The order of a metadata dict says nothing, so it counts sorted. Value digests, tags, parents and
    previews are left out: they may differ between two writes of the same content.
    """
    metadata = draft.metadata
    if metadata != "{}":
        metadata = json.dumps(json.loads(metadata), sort_keys=True, ensure_ascii=False)
    text = json.dumps(
        [
            [(part.name, part.digest) for part in draft.parts],
            draft.serializer,
            draft.kind,
            draft.media_type,
            draft.filename,
            metadata,
            sorted(draft.partitions.items()),
            draft.external,
        ]
    )
    return hashlib.sha256(text.encode()).digest()
