"""An API of which a publisher fails some seconds after it began, as by a programming error."""

import asyncio
import random
import sys

from api.__main__ import main
from shared.broker.publisher import Publisher

run = Publisher.run


async def dying(publisher: Publisher) -> None:
    try:
        async with asyncio.timeout(random.uniform(1, 4)):
            await run(publisher)
    except TimeoutError:
        raise RuntimeError("killed by the fault") from None


Publisher.run = dying  # type: ignore[method-assign]
sys.exit(main())
