"""What reads much at one time, with threads and connections of its own: it holds up nobody who asks for little."""

from dataclasses import dataclass

from sqlalchemy import Engine

from api.errors import TooSlow
from api.export.download import Downloads
from api.tails import Tails
from shared.cold.store import Store
from shared.config import Settings
from shared.database import connect
from shared.threads import Threads

#: Charts that are drawn at one time, and pieces of downloads and pages that are made at one time. More would only have
#: them take turns: each keeps a processor busy.
CHARTS, PIECES = 2, 2


@dataclass(frozen=True)
class Readers:
    """Hot rows through `engine`, cold files in `store`; `charts` and `pieces` are who may read them."""

    engine: Engine
    store: Store
    tails: Tails
    charts: Threads
    pieces: Threads
    downloads: Downloads

    @classmethod
    def of(cls, settings: Settings) -> "Readers":
        """Make them; nothing is connected before it is used."""
        engine = connect(
            settings.database_url, pool_size=CHARTS + PIECES, statement_deadline=settings.statement_deadline
        )
        pieces = Threads(PIECES, "store of readings", TooSlow)
        downloads = Downloads(pieces, settings.download_limit, settings.download_patience)
        charts = Threads(CHARTS, "store of readings", TooSlow)
        store = Store(settings.cold_url)
        return cls(engine, store, Tails(store), charts, pieces, downloads)

    def close(self) -> None:
        """Let the threads end once they are free."""
        self.charts.close()
        self.pieces.close()
        self.engine.dispose()
