"""The same verbs for asyncio: each runs in a thread, none is written twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

from flowblob.store import Store


class AsyncStore:
    """A Store whose verbs are awaited.

    Every method of `Store` is there with the same arguments; it runs in a thread of the default
    executor, so that the event loop stays free.

    Args:
        store: A Store, or what `Store` takes.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     store = AsyncStore("memory://")
        ...     await store.put("numbers", [1, 2])
        ...     return await store.get("numbers")
        >>> asyncio.run(main())
        [1, 2]
    """

    def __init__(self, store: Store | str | os.PathLike[str] | None = None) -> None:
        self.sync = store if isinstance(store, Store) else Store(store)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_") or name == "sync":
            raise AttributeError(name)
        verb = getattr(self.sync, name)
        if not callable(verb):
            raise AttributeError(f"{name} is no verb; read it from .sync.{name}")

        async def call(*args: Any, **kwargs: Any) -> Any:
            import asyncio  # half of what `import flowblob` would cost

            return await asyncio.to_thread(verb, *args, **kwargs)

        return call

    async def __aenter__(self) -> AsyncStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncStore({self.sync.url!r})"
